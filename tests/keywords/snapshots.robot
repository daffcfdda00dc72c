*** Settings ***
Documentation     Snapshots: what a person reads when one cannot be taken, found or restored.

Resource          keywords.resource

Suite Setup       Share A Small Machine
Suite Teardown    Destroy All Machines And Prove It
Test Teardown     Mend Sandbox


*** Test Cases ***
A Snapshot Is Taken And Deleted
    ${hibernation} =    Make Hibernation    ${MACHINE}
    VAR    ${snapshot} =    ${hibernation.snapshot_id}
    Snapshot Should Be Listed    ${snapshot}
    Delete Snapshot    ${snapshot}
    Run Keyword And Expect Error
    ...    Dumont Cloud said that snapshot ${snapshot} was made, but lists it 0 times among *
    ...    Snapshot Should Be Listed    ${snapshot}
    Run Keyword And Expect Error
    ...    Dumont API refused POST /api/v1/snapshots/restore with 404: Snapshot ${snapshot} not found.
    ...    Restore Snapshot    ${MACHINE}    ${snapshot}    ${WORKSPACE}

The Snapshot Is Unknown
    Run Keyword And Expect Error
    ...    Dumont API refused DELETE /api/v1/snapshots/0badc0de with 404: Snapshot 0badc0de not found.
    ...    Delete Snapshot    0badc0de

The Folder Is Missing
    Run Keyword And Expect Error
    ...    Dumont API refused POST /api/v1/snapshots with 400: Workspace /nowhere does not exist on instance *
    ...    Create Snapshot    ${MACHINE}    /nowhere

The Folder Is Empty
    Run On Machine    ${MACHINE}    mkdir -p "$1"    /tmp/empty
    Run Keyword And Expect Error
    ...    Dumont API refused POST /api/v1/snapshots with 400: Workspace /tmp/empty is empty: nothing to snapshot.
    ...    Create Snapshot    ${MACHINE}    /tmp/empty

The Machine Is Gone
    ${gone} =    Rent Small Machine
    Destroy Machine    ${gone}
    Run Keyword And Expect Error
    ...    Dumont API refused POST /api/v1/snapshots with 404: Instance ${gone.id} not found.
    ...    Create Snapshot    ${gone}    ${WORKSPACE}

Restic Is Missing On The Machine
    Break New Machines    no_restic
    ${machine} =    Rent Small Machine
    Run Keyword And Expect Error
    ...    Dumont API refused POST /api/v1/snapshots with 500: restic backup: restic is not installed on this machine.
    ...    Create Snapshot    ${machine}    /etc

The Disk Is Full At The Restore
    ${hibernation} =    Make Hibernation    ${MACHINE}    large_bytes=8000000
    Break New Machines    small_disk    megabytes=4
    ${small} =    Rent Small Machine
    Run Keyword And Expect Error
    ...    UNKNOWN: Dumont API refused * with 507: The disk of the rented machine is full: /workspace has * free.*
    ...    Restore Snapshot    ${small}    ${hibernation.snapshot_id}    ${WORKSPACE}

The Product Takes Too Long
    Delay Answers    control    ^POST .*/snapshots$    3s
    Run Keyword And Expect Error
    ...    UNKNOWN: The answer of Dumont API at * to POST /api/v1/snapshots was lost: no answer within 1 s. It may or*
    ...    Create Snapshot    ${MACHINE}    ${WORKSPACE}    timeout=1s
