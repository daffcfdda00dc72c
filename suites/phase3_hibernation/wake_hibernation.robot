*** Settings ***
Documentation     What was hibernated, today or on another day, wakes on another machine with every byte in place.

Resource          ../../resources/hibernation.resource

Suite Setup       Open The Target
Suite Teardown    Destroy All Machines And Prove It
Test Teardown     Publish Report

Test Tags         phase3    hibernation


*** Test Cases ***
Hibernated Machine Wakes Step By Step
    [Documentation]    Another machine is rented, its workspace is poisoned, and the snapshot is restored over it.
    [Metadata]    Report    wake_hibernation
    [Setup]    There Should Be A Hibernation By    steps
    GROUP    [1/5] Find snapshot
        ${hibernation} =    Find Newest Hibernation    steps
        Snapshot Should Be Whole In Bucket    ${hibernation.snapshot_id}    ${hibernation.manifest}
    END
    GROUP    [2/5] Provision
        ${machine} =    Rent Poisoned Machine    ${hibernation.manifest}
    END
    GROUP    [3/5] Restore
        Restore Snapshot    ${machine}    ${hibernation.snapshot_id}    ${WORKSPACE}    timeout=${RESTORE_TIMEOUT}
    END
    GROUP    [4/5] Validate
        Workspace Should Equal Manifest    ${machine}    ${hibernation.manifest}
        Record Wake Up Time    provision    restore
    END
    GROUP    [5/5] Destroy
        Destroy Machine    ${machine}    timeout=${GONE_TIMEOUT}
        Forget Hibernation    ${hibernation}
    END

Hibernated Machine Is Woken By The Product
    [Documentation]    One call wakes it: the product rents the machine and restores the snapshot by itself.
    [Metadata]    Report    wake_hibernation_by_product
    [Setup]    There Should Be A Hibernation By    product
    GROUP    [1/4] Find snapshot
        ${hibernation} =    Find Newest Hibernation    product
        Snapshot Should Be Whole In Bucket    ${hibernation.snapshot_id}    ${hibernation.manifest}
    END
    GROUP    [2/4] Wake
        ${machine} =    Wake Machine    ${hibernation}    max_price=${MAX_PRICE}    timeout=${RESTORE_TIMEOUT}
    END
    GROUP    [3/4] Validate
        Workspace Should Equal Manifest    ${machine}    ${hibernation.manifest}
        Record Wake Up Time    wake
    END
    GROUP    [4/4] Destroy
        Destroy Machine    ${machine}    timeout=${GONE_TIMEOUT}
        Forget Hibernation    ${hibernation}
    END
