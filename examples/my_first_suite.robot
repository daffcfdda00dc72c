*** Settings ***
Documentation     A model for a suite of your own: a file moves from one machine to another.
...
...               | robot examples/my_first_suite.robot
...
...               It runs on the embedded cloud, which is free. For the real product, set its addresses and keys (see
...               the README) and add ``--variable TARGET:live --variable BUDGET_USD:1``.

# The keyword libraries are on the import path of the environment: import them by name.
Library           ProvisioningLibrary
Library           SnapshotLibrary
Library           SSHLibrary
Library           WorkspaceLibrary
# The path of a resource is relative to this file. This resource opens the target and sets TARGET, MAX_PRICE and others.
Resource          ../resources/target.resource

Suite Setup       Open The Target
# Runs after a failure too: no machine and no snapshot of this run stays behind.
Suite Teardown    Destroy All Machines And Prove It
Test Teardown     Close All Connections


*** Variables ***
# The directory that snapshots hold. Files outside it are lost with their machine.
${WORKSPACE}    /workspace
${GREETING}     Hello from the first machine


*** Test Cases ***
File Moves To Another Machine
    ${first} =    Rent Machine    max_price=${MAX_PRICE}    disk_gb=20
    Write Greeting    ${first}
    ${manifest} =    Take Manifest    ${first}    ${WORKSPACE}
    ${snapshot} =    Create Snapshot    ${first}    ${WORKSPACE}
    Destroy Machine    ${first}

    ${second} =    Rent Machine    max_price=${MAX_PRICE}    disk_gb=20
    Restore Snapshot    ${second}    ${snapshot}    ${WORKSPACE}
    Workspace Should Equal Manifest    ${second}    ${manifest}
    Greeting Should Be On    ${second}


*** Keywords ***
Write Greeting
    [Arguments]    ${machine}
    # From here on, the keywords of SSHLibrary talk to this machine.
    Open SSH Connection    ${machine}
    Execute Command    echo "${GREETING}" >${WORKSPACE}/greeting.txt

Greeting Should Be On
    [Arguments]    ${machine}
    Open SSH Connection    ${machine}
    ${found} =    Execute Command    cat ${WORKSPACE}/greeting.txt
    Should Be Equal    ${found}    ${GREETING}
