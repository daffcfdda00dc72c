*** Settings ***
Documentation     Each way to fail over does what it says; and how fast each is, how much it loses, and what it costs.

Resource          ../../resources/strategies.resource

Suite Setup       Open The Target
Suite Teardown    Compare Strategies And Leave Nothing
Test Teardown     Publish Report And Leave No Snapshot
Test Template     Machine Should Survive By

Test Tags         journey    failover    strategy    long


*** Variables ***
# How long a machine that shall not fail over is looked at, after it was lost.
${STAYS_LOST}    10s


*** Test Cases ***
CPU Standby
    [Metadata]    Report    strategy_cpu_standby
    cpu_standby
Snapshot
    [Metadata]    Report    strategy_snapshot
    snapshot
Warm Pool
    [Metadata]    Report    strategy_warm_pool
    warm_pool
Regional Volume
    [Metadata]    Report    strategy_regional_volume
    regional_volume
Disabled
    [Documentation]    What shall not fail over is left as it is, also when somebody asks for it, or when it is lost.
    [Metadata]    Report    strategy_disabled
    [Template]    NONE
    GROUP    [1/4] Provision
        ${machine} =    Rent GPU Machine
    END
    GROUP    [2/4] Refusal
        Choose Failover Strategy    ${machine}    disabled
        Failover Should Be Refused    ${machine}    disabled
    END
    GROUP    [3/4] Preemption
        ${loss} =    Kill Machine    ${machine}
        Machine Should Stay Lost    ${loss}    ${STAYS_LOST}
    END
    GROUP    [4/4] Destroy
        Destroy Machine    ${machine}    timeout=${GONE_TIMEOUT}
    END


*** Keywords ***
Publish Report And Leave No Snapshot
    Publish Report
    Delete Left Snapshots

Compare Strategies And Leave Nothing
    Compare Strategies
    Destroy All Machines And Prove It
