*** Settings ***
Documentation     A machine gets another GPU, and loses neither a byte nor the last write of a process.

Resource          ../../resources/journey.resource

Suite Setup       Open The Target For A Migration
Suite Teardown    Destroy All Machines And Prove It
Test Teardown     Publish Report

Test Tags         journey    migration


*** Variables ***
${OTHER_GPU}    RTX 4090


*** Test Cases ***
Machine Moves To Another GPU Without Loss
    [Metadata]    Report    migration
    GROUP    [1/5] Provision
        ${machine} =    Rent GPU Machine
        ${manifest} =    Fill Workspace    ${machine}
    END
    GROUP    [2/5] Work
        Keep Writing Files    ${machine}    ${WORKSPACE}
    END
    GROUP    [3/5] Migration
        ${migration} =    Migrate Machine    ${machine}    ${OTHER_GPU}    ${MAX_PRICE}    timeout=${FAILOVER_TIMEOUT}
    END
    GROUP    [4/5] Proof
        Failover Should Be Proven    ${migration}    ${manifest}
    END
    GROUP    [5/5] Destroy
        Destroy Machine    ${migration.new}    timeout=${GONE_TIMEOUT}
    END


*** Keywords ***
Open The Target For A Migration
    Open The Target
    GPU Should Be On Offer    ${OTHER_GPU}    ${MAX_PRICE}    ${DISK_GB}
