*** Settings ***
Documentation    What a suite of one's own needs: the embedded cloud is free, and no option is demanded.

Library          OperatingSystem
Library          SSHLibrary
Resource         keywords.resource

Suite Setup      Close Target
Test Teardown    Run Keywords    Close All Connections    AND    Close Target


*** Test Cases ***
The Sandbox Needs No Budget
    Open Target    sandbox    state_dir=temporary
    ${machine} =    Rent Small Machine
    Open SSH Connection    ${machine}
    ${user} =    Execute Command    whoami
    Should Be Equal    ${user}    ${machine.ssh.user}
    Destroy Machine    ${machine}

Anything But A Machine Is Refused
    Run Keyword And Expect Error
    ...    *'machine' got value '7' * that cannot be converted *: pass the object that Rent Machine returns, such as *
    ...    Destroy Machine    ${7}

A Misspelled State Directory Is Refused
    Run Keyword And Expect Error
    ...    STATE_DIR must be temporary or breakable, * it is 'temp' (did you mean temporary? *
    ...    Open Target    sandbox    state_dir=temp
    Should Not Exist    ${EXECDIR}/temp

A State Directory Needs Its Parent
    Run Keyword And Expect Error
    ...    STATE_DIR must be * it is '${TEMPDIR}/none/cloud' (but ${TEMPDIR}/none does not exist: create it first).
    ...    Open Target    sandbox    state_dir=${TEMPDIR}/none/cloud

The Permissions Of A State Directory Are Not Changed
    Create Directory    ${OUTPUT_DIR}/closed
    Run    chmod 555 "${OUTPUT_DIR}/closed"
    Run Keyword And Expect Error
    ...    `python -m sandbox up` was refused: ${OUTPUT_DIR}/closed has mode 555, but a cloud keeps keys there and *
    ...    Open Target    sandbox    state_dir=${OUTPUT_DIR}/closed
    ${mode} =    Run    stat --format=%a "${OUTPUT_DIR}/closed"
    Should Be Equal    ${mode}    555
