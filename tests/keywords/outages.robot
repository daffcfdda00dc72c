*** Settings ***
Documentation     The store goes away in the middle of an upload, or takes nothing more. What was lost is told, and
...               nothing else is.

Resource          keywords.resource

Suite Setup       Share A Busy Machine
Suite Teardown    Destroy All Machines And Prove It
Test Teardown     Mend Sandbox

Test Tags         long


*** Test Cases ***
The Store Is Back In Time
    Create Large File
    ${manifest} =    Take Manifest    ${MACHINE}    ${WORKSPACE}
    Stop Part When Bucket Grows    store    back_after=1s
    ${snapshot} =    Create Snapshot    ${MACHINE}    ${WORKSPACE}
    Snapshot Should Be Whole In Bucket    ${snapshot}    ${manifest}

The Store Is Not Back In Time
    Create Large File
    ${manifest} =    Take Manifest    ${MACHINE}    ${WORKSPACE}
    Stop Part When Bucket Grows    store
    Run Keyword And Expect Error
    ...    Dumont API refused POST /api/v1/snapshots with 503: The object store does not answer: * (for 10 s now).
    ...    Create Snapshot    ${MACHINE}    ${WORKSPACE}
    Start Part    store
    ${snapshot} =    Create Snapshot    ${MACHINE}    ${WORKSPACE}
    Snapshot Should Be Whole In Bucket    ${snapshot}    ${manifest}

The Store Is Stopped Alone
    Stop Part    store
    ${status} =    Sandbox Status
    Should Contain    ${status}    is stopped; start it: python -m sandbox start
    Run Keyword And Expect Error
    ...    UNKNOWN: The object store at * cannot be reached (*), so nothing is known of * Is B2_ENDPOINT right, and is*
    ...    List Bucket
    Run On Machine    ${MACHINE}    true
    Mend Sandbox
    List Bucket

The Bucket Is Read-Only
    Make Bucket Read Only
    Run Keyword And Expect Error
    ...    Dumont API refused POST /api/v1/snapshots with 500: restic on instance *: Save(*) failed: *: Access Denied.
    ...    Create Snapshot
    ...    ${MACHINE}
    ...    ${WORKSPACE}
    Run Keyword And Expect Error
    ...    UNKNOWN: The object store at * no longer takes our keys for bucket * (AccessDenied): * they may write re*
    ...    Bucket Should Open With Its Keys
    Run Keyword And Expect Error
    ...    Dumont API refused DELETE /api/v1/snapshots/* with 500: restic *: *Access Denied.
    ...    Delete Snapshot    ${HIBERNATION.snapshot_id}
    Snapshot Should Be Whole In Bucket    ${HIBERNATION.snapshot_id}    ${HIBERNATION.manifest}
    Restore Snapshot    ${MACHINE}    ${HIBERNATION.snapshot_id}    ${WORKSPACE}
    Mend Sandbox
    Bucket Should Open With Its Keys
    Create Snapshot    ${MACHINE}    ${WORKSPACE}

The Bucket Is Full
    Fill Bucket
    Run Keyword And Expect Error
    ...    Dumont API refused POST /api/v1/snapshots with 503: restic on instance *: Save(*) failed: *internal error*
    ...    Create Snapshot
    ...    ${MACHINE}
    ...    ${WORKSPACE}
    Run Keyword And Expect Error
    ...    UNKNOWN: The object store at * answered 500 InternalError at write rekindle/probe-* in bucket dumont*
    ...    Bucket Should Open With Its Keys
    Restore Snapshot    ${MACHINE}    ${HIBERNATION.snapshot_id}    ${WORKSPACE}
    Mend Sandbox
    Bucket Should Open With Its Keys
    Create Snapshot    ${MACHINE}    ${WORKSPACE}


*** Keywords ***
Share A Busy Machine
    [Documentation]    So busy that it is not hibernated while these tests take their time.
    Share A Hibernation
    Run On Machine    ${MACHINE}    echo 90 >/tmp/gpu-utilisation

Create Large File
    [Documentation]    Of other bytes than the one before: all of it has to be stored.
    Run On Machine    ${MACHINE}    head -c 60000000 /dev/urandom >"$1"    ${WORKSPACE}/large
