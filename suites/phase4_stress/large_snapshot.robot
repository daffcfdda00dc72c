*** Settings ***
Documentation     A large model survives its machine, at speeds that are measured on the bytes in the bucket.

Resource          ../../resources/large_snapshot.resource

Suite Setup       Open The Target For A Large Model
Suite Teardown    Destroy All Machines And Prove It
Test Teardown     Publish Report And Leave Nothing

Test Tags         phase4    stress


*** Test Cases ***
Large Model Moves To Another Machine
    [Metadata]    Report    large_snapshot
    [Metadata]    Rents    2 machines for 10 minutes
    GROUP    [1/10] Provision
        ${first} =    Rent GPU Machine
    END
    GROUP    [2/10] Create large file
        ${model} =    Create Model File    ${first}    ${WORKSPACE}    ${LARGE_FILE_MB}
    END
    GROUP    [3/10] Manifest
        ${manifest}    ${packs_before} =    Take Stock Before Snapshot    ${first}    ${model}
    END
    GROUP    [4/10] Snapshot
        ${snapshot} =    Create Snapshot    ${first}    ${WORKSPACE}    ${LARGE_SNAPSHOT_TIMEOUT}    ${manifest.bytes}
    END
    GROUP    [5/10] Audit
        ${stored} =    Snapshot Should Be Whole And Measured    ${snapshot}    ${manifest}    ${packs_before}
    END
    GROUP    [6/10] Destroy
        Destroy Machine    ${first}    timeout=${GONE_TIMEOUT}
    END
    GROUP    [7/10] Provision another
        ${second} =    Rent Poisoned Machine    ${manifest}
    END
    GROUP    [8/10] Restore
        Restore Snapshot    ${second}    ${snapshot}    ${WORKSPACE}    ${LARGE_RESTORE_TIMEOUT}    ${manifest.bytes}
    END
    GROUP    [9/10] Validate
        Model File Should Be Back    ${second}    ${manifest}    ${model}    ${stored}
    END
    GROUP    [10/10] Clean up
        Nothing Should Be Left    ${second}    ${snapshot}    ${stored}
    END
