*** Settings ***
Documentation     Ways to fail over: what a person reads when one cannot be chosen, does not serve, or must not be used.

Library           FailoverLibrary
Library           StrategyLibrary
Resource          keywords.resource

Suite Setup       Share A Small Machine
Suite Teardown    Destroy All Machines And Prove It


*** Test Cases ***
No Volume To Choose
    Run Keyword And Expect Error
    ...    Dumont API refused PUT * with 409: The workspace of instance ${MACHINE.id} is on its own disk: *
    ...    Choose Failover Strategy    ${MACHINE}    regional_volume

A Strategy That Does Not Exist
    Run Keyword And Expect Error
    ...    Dumont API refused PUT * with 422: *
    ...    Choose Failover Strategy    ${MACHINE}    prayer

Nothing To Fail Over To
    Choose Failover Strategy    ${MACHINE}    snapshot
    Run Keyword And Expect Error
    ...    Waited for machine ${MACHINE.id} * to be ready to fail over by snapshot: not so after * has no snapshot of*
    ...    Wait Until Ready To Fail Over    ${MACHINE}    snapshot    timeout=1s
    Failover Should Be Refused    ${MACHINE}    nothing to fail over to
    Run Keyword And Expect Error
    ...    The failover of machine ${MACHINE.id} * is refused, but not because of 'disabled': * no snapshot of*
    ...    Failover Should Be Refused    ${MACHINE}    disabled

Disabled
    [Documentation]    A machine that is lost stays lost; one that comes back all the same is not let pass.
    ${machine} =    Rent Small Machine
    Choose Failover Strategy    ${machine}    disabled
    Failover Should Be Refused    ${machine}    disabled
    ${loss} =    Kill Machine    ${machine}
    Machine Should Stay Lost    ${loss}    3s
    Destroy Machine    ${machine}

Disabled Only In Words
    ${machine} =    Rent Protected Machine    snapshot
    ${loss} =    Kill Machine    ${machine}
    Run Keyword And Expect Error
    ...    Expected machine ${machine.id} * to stay lost for 3* s, but after * s saw: failover * of it, *
    ...    Machine Should Stay Lost    ${loss}    30s
    Destroy All Machines And Prove It

Another Way Than Was Chosen
    [Documentation]    Without a standby the product takes the snapshot; that is right, but not what was to be shown.
    ${machine} =    Rent Protected Machine    cpu_standby
    ${failover} =    Kill Machine    ${machine}
    ${new} =    Follow Failover    ${failover}
    Run Keyword And Expect Error
    ...    Strategy cpu_standby was chosen, but the data came from snapshot.
    ...    Record Strategy    ${failover}    cpu_standby
    Destroy Machine    ${new}


*** Keywords ***
Rent Protected Machine
    [Arguments]    ${strategy}
    ${machine} =    Rent Small Machine
    Create Test Files    ${machine}    ${WORKSPACE}    small_files=5    large_bytes=1000
    Create Snapshot    ${machine}    ${WORKSPACE}
    Choose Failover Strategy    ${machine}    ${strategy}
    RETURN    ${machine}
