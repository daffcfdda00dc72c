*** Settings ***
Documentation     Very many small files survive their machine: a data set, and the virtual environment beside it.

Resource          ../../resources/stress.resource

Suite Setup       Open The Target For Stress
Suite Teardown    Destroy All Machines And Prove It
Test Teardown     Publish Report And Leave Nothing

Test Tags         phase4    stress


*** Test Cases ***
Many Small Files Move To Another Machine
    [Metadata]    Report    many_files
    [Metadata]    Rents    2 machines for 10 minutes
    GROUP    [1/7] Provision
        ${first} =    Rent GPU Machine
    END
    GROUP    [2/7] Create files
        Create Many Files    ${first}    ${WORKSPACE}    files=${MANY_FILES}
        ${manifest} =    Take Manifest    ${first}    ${WORKSPACE}
    END
    GROUP    [3/7] Snapshot
        ${snapshot} =    Take Proven Snapshot    ${first}    ${manifest}    timeout=${LARGE_SNAPSHOT_TIMEOUT}
        Destroy Machine    ${first}    timeout=${GONE_TIMEOUT}
    END
    GROUP    [4/7] Provision another
        ${second} =    Rent Poisoned Machine    ${manifest}
    END
    GROUP    [5/7] Restore
        Restore Snapshot    ${second}    ${snapshot}    ${WORKSPACE}    timeout=${LARGE_RESTORE_TIMEOUT}
    END
    GROUP    [6/7] Validate
        Workspace Should Equal Manifest    ${second}    ${manifest}
    END
    GROUP    [7/7] Destroy
        Destroy Machine    ${second}    timeout=${GONE_TIMEOUT}
        Delete Snapshot    ${snapshot}
    END
