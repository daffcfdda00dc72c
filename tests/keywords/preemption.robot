*** Settings ***
Documentation     The market takes a machine away: what a person reads then, and that its bill ends.

Resource          keywords.resource

Suite Setup       Share A Hibernation
Suite Teardown    Forget Shared Hibernation
Test Teardown     Mend Sandbox


*** Test Cases ***
A Machine Is Taken Away
    ${machine} =    Rent Small Machine
    Preempt Machine    ${machine}
    ${status} =    Sandbox Status
    Should Match Regexp    ${status}    (?m)^ *${machine.id} .* exited
    Run Keyword And Expect Error
    ...    SSH to *.${machine.id} (root@127.0.0.1:*) was refused: *Connection refused*
    ...    Run On Machine    ${machine}    true
    Run Keyword And Expect Error
    ...    Dumont API refused POST /api/v1/snapshots with 400: Instance ${machine.id} is not running (status: exited).
    ...    Create Snapshot    ${machine}    ${WORKSPACE}
    Run Keyword And Expect Error
    ...    Dumont API refused POST /api/v1/snapshots/restore with 400: * is not running (status: exited).
    ...    Restore Snapshot
    ...    ${machine}
    ...    ${HIBERNATION.snapshot_id}
    ...    ${WORKSPACE}
    Run Keyword And Expect Error
    ...    Dumont Cloud should have destroyed machine ${machine.id} * lists it as exited, and it still bills $*/h. *
    ...    Machine Should Be Gone    ${machine}    timeout=1s

A Machine That Was Taken Away Is Destroyed
    ${machine} =    Rent Small Machine
    Preempt Machine    ${machine}
    Destroy Machine    ${machine}

A Machine Dies In The Middle Of A Restore
    ${machine} =    Rent Small Machine
    Preempt Machine During Restore    ${machine}
    Run Keyword And Expect Error
    ...    Dumont API refused POST /api/v1/snapshots/restore with 502: Instance ${machine.id}: SSH failed: *
    ...    Restore Snapshot    ${machine}    ${HIBERNATION.snapshot_id}    ${WORKSPACE}
    Destroy Machine    ${machine}
    ${other} =    Rent Small Machine
    Restore Snapshot    ${other}    ${HIBERNATION.snapshot_id}    ${WORKSPACE}
    Workspace Should Equal Manifest    ${other}    ${HIBERNATION.manifest}
    Destroy Machine    ${other}
