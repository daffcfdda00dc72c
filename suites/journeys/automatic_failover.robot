*** Settings ***
Documentation     The market takes a machine away, nobody clicks, and the work goes on on another one.

Resource          ../../resources/journey.resource

Suite Setup       Open The Target
Suite Teardown    Destroy All Machines And Prove It
Test Teardown     Publish Report

Test Tags         journey    failover


*** Test Cases ***
Preempted Machine Fails Over By Itself
    [Metadata]    Report    automatic_failover
    GROUP    [1/6] Provision
        ${machine} =    Rent GPU Machine
        Fill Workspace    ${machine}
    END
    GROUP    [2/6] Standby
        ${standby}    ${manifest} =    Protect With Standby    ${machine}
    END
    GROUP    [3/6] Preemption
        Keep Writing Files    ${machine}    ${WORKSPACE}
        ${failover} =    Kill Machine    ${machine}
    END
    GROUP    [4/6] Failover
        ${new} =    Follow Failover    ${failover}    timeout=${FAILOVER_TIMEOUT}
    END
    GROUP    [5/6] Proof
        Failover Should Be Proven    ${failover}    ${manifest}
    END
    GROUP    [6/6] Destroy
        Destroy Machine And Standby    ${new}    ${standby}
    END
