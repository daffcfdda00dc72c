*** Settings ***
Documentation     A machine that falls idle becomes a snapshot, whole in the bucket, and then costs nothing any more.

Resource          ../../resources/hibernation.resource

Suite Setup       Open The Target
Suite Teardown    Destroy All Machines And Prove It
Test Teardown     Publish Report

Test Tags         phase3    hibernation


*** Test Cases ***
Machine Is Hibernated Step By Step
    [Documentation]    The five steps, one by one, through the API that every Dumont Cloud has.
    [Metadata]    Report    auto_hibernation
    GROUP    [1/5] Provision
        ${machine} =    Rent GPU Machine
    END
    GROUP    [2/5] Create files
        ${manifest} =    Fill Workspace    ${machine}
    END
    GROUP    [3/5] Idle wait
        Machine Should Stay Idle    ${machine}    duration=${IDLE_SECONDS}
    END
    GROUP    [4/5] Snapshot
        Snapshot Into Bucket    ${machine}    ${manifest}
    END
    GROUP    [5/5] Destroy
        Destroy Machine    ${machine}    timeout=${GONE_TIMEOUT}
    END

Idle Machine Is Hibernated By The Product
    [Documentation]    Nobody asks for the snapshot: the product notices that the GPU is idle and does all of it.
    [Metadata]    Report    auto_hibernation_by_product
    GROUP    [1/5] Provision
        ${machine} =    Rent GPU Machine
    END
    GROUP    [2/5] Create files
        ${manifest} =    Fill Workspace    ${machine}
    END
    GROUP    [3/5] Idle wait
        Hibernate When Idle    ${machine}    after=${IDLE_SECONDS}
        Wait Until Hibernation Begins    ${machine}    timeout=${HIBERNATION_TIMEOUT}
    END
    GROUP    [4/5] Snapshot
        Wait For Its Own Hibernation    ${machine}    ${manifest}
    END
    GROUP    [5/5] Destroy
        Machine Should Be Gone    ${machine}    timeout=${GONE_TIMEOUT}
    END
