*** Settings ***
Documentation     Standbys and the failovers that need them: what a person reads when something is not so.

Library           FailoverLibrary
Library           StandbyLibrary
Resource          keywords.resource

Suite Setup       Open Own Cloud
Suite Teardown    Destroy All Machines And Prove It
Test Teardown     Mend Sandbox


*** Test Cases ***
Nothing To Fail Over To
    ${machine} =    Rent Small Machine
    Run Keyword And Expect Error
    ...    Dumont API refused POST /api/v1/standby/*/simulate-failover with 404: *has nothing to fail over to*
    ...    Fail Over    ${machine}
    Run On Machine Works    ${machine}
    Destroy Machine    ${machine}

A Second Standby
    ${machine}    ${standby} =    Rent Protected Machine
    Run Keyword And Expect Error
    ...    Dumont API refused POST /api/v1/standby/*/enable with 409: * has a standby already: ${standby.name} *
    ...    Enable Standby    ${machine}
    Wait Until Standby Is Synced    ${standby}
    Destroy Machine    ${machine}
    Standby Should Be Gone    ${standby}

A Standby That Is Stale
    [Documentation]    The product is told to sync once an hour: what is written now does not arrive.
    ${machine}    ${standby} =    Rent Protected Machine
    Stop Syncing    ${machine}
    Run Keyword And Expect Error
    ...    Waited for /workspace/sync-test-*.txt to be on standby ${standby.name} *: not so after * Dumont Cloud says*
    ...    Wait Until Standby Is Synced    ${standby}    timeout=2s
    Destroy Machine    ${machine}
    Standby Should Be Gone    ${standby}

A Standby That Lives On
    ${machine}    ${standby} =    Rent Protected Machine
    Run Keyword And Expect Error
    ...    standby ${standby.name} * should be gone, but Dumont Cloud still shows it, * Rekindle has deleted it at the*
    ...    Standby Should Be Gone    ${standby}    timeout=1s
    Destroy Machine    ${machine}

A Failover That Is Not Followed
    ${machine}    ${manifest} =    Rent Filled And Protected Machine
    ${failover} =    Fail Over    ${machine}
    Run Keyword And Expect Error
    ...    UNKNOWN: Nothing has failed over yet: [[]Follow Failover[]] comes first.
    ...    Failover Should Be Proven    ${failover}    ${manifest}
    ${new} =    Follow Failover    ${failover}
    Run Keyword And Expect Error
    ...    Workspace after the failover differs from the manifest: 1 extra of *: extra sync-test-*.txt.
    ...    Failover Should Be Proven    ${failover}    ${manifest}
    Destroy Machine    ${new}
    Machine Should Be Gone    ${machine}


*** Keywords ***
Rent Protected Machine
    ${machine} =    Rent Small Machine
    ${standby} =    Enable Standby    ${machine}
    RETURN    ${machine}    ${standby}

Rent Filled And Protected Machine
    [Documentation]    The manifest lacks the nonce that is written after it.
    ${machine}    ${standby} =    Rent Protected Machine
    Create Test Files    ${machine}    ${WORKSPACE}    small_files=5    large_bytes=1000
    ${manifest} =    Take Manifest    ${machine}    ${WORKSPACE}
    Wait Until Standby Is Synced    ${standby}
    RETURN    ${machine}    ${manifest}

Run On Machine Works
    [Arguments]    ${machine}
    ${said} =    Run On Machine    ${machine}    echo "$1"    alive
    Should Be Equal    ${said}    alive
