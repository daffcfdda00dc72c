*** Settings ***
Documentation     The cloud is down, or its store is killed in the middle of a snapshot. Then it comes back.

Resource          keywords.resource

Suite Setup       Share A Small Machine
Suite Teardown    Destroy All Machines And Prove It


*** Test Cases ***
Everything Is Down
    Stop Sandbox
    ${status} =    Sandbox Status
    Should Contain    ${status}    down
    Run Keyword And Expect Error
    ...    UNKNOWN: Dumont API at * answered before, but not to POST /api/v1/snapshots: *. Is it still running?
    ...    Create Snapshot    ${MACHINE}    ${WORKSPACE}
    Run Keyword And Expect Error
    ...    UNKNOWN: The object store at * cannot be reached (*), so nothing is known of * Is B2_ENDPOINT right, and is*
    ...    List Bucket
    [Teardown]    Start Sandbox

The Store Is Killed In The Middle Of A Snapshot
    Create Test Files    ${MACHINE}    ${WORKSPACE}    small_files=20
    ${manifest} =    Take Manifest    ${MACHINE}    ${WORKSPACE}
    Kill Part When Bucket Grows    store
    Run Keyword And Expect Error
    ...    UNKNOWN: The answer of Dumont API at * to POST /api/v1/snapshots was lost: *. It may or may not have been*
    ...    Create Snapshot    ${MACHINE}    ${WORKSPACE}
    Start Sandbox
    ${snapshot} =    Create Snapshot    ${MACHINE}    ${WORKSPACE}
    Snapshot Should Be Whole In Bucket    ${snapshot}    ${manifest}
    [Teardown]    Mend Sandbox
