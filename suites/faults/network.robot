*** Settings ***
Documentation     Connections are slow, or break in the middle: work takes longer, or is done again, and nothing twice.

Resource          ../../resources/faults.resource

Suite Setup       Open A Cloud To Be Broken
Suite Teardown    Destroy All Machines And Prove It
Test Teardown     Mend And Publish Report


*** Test Cases ***
Everything Is Far Away
    [Metadata]    Report    faults_slow_network
    [Tags]    long
    GROUP    [1/3] Provision
        Make All Ways Long
        ${machine}    ${manifest} =    Rent Filled Machine
    END
    GROUP    [2/3] Snapshot
        Take Proven Snapshot    ${machine}    ${manifest}
    END
    GROUP    [3/3] Destroy
        Destroy To The Last    ${machine}
    END

Answer To The Rent Is Lost
    [Documentation]    The machine that was rented all the same is found by its label; another one is not rented.
    [Metadata]    Report    faults_lost_answer
    GROUP    [1/2] Provision
        Lose Answer To Rent    control
        ${machine} =    Rent GPU Machine
        Faults Should Have Struck
        Market Should Have    1
    END
    GROUP    [2/2] Destroy
        Destroy To The Last    ${machine}
    END

Answer Of The Market Is Lost
    [Documentation]    As before, between the market and Dumont Cloud.
    [Metadata]    Report    faults_lost_answer_of_market
    GROUP    [1/2] Provision
        Lose Answer To Rent    product-market
        ${machine} =    Rent GPU Machine
        Faults Should Have Struck
        Market Should Have    1
    END
    GROUP    [2/2] Destroy
        Destroy To The Last    ${machine}
    END

SSH Breaks During A Snapshot
    [Metadata]    Report    faults_ssh_cut
    GROUP    [1/4] Provision
        ${machine}    ${manifest} =    Rent Filled Machine
        Add Toxic    product-store    bandwidth    upstream    rate=2000
    END
    GROUP    [2/4] Failing snapshot
        Cut Way During    snapshot    ${machine}    ${machine}
        Should Be Told
        ...    Dumont API refused POST /api/v1/snapshots with 502: Instance ${machine.id}: SSH failed: *
        ...    Create Snapshot    ${machine}    ${WORKSPACE}
    END
    GROUP    [3/4] Snapshot
        Mend Sandbox
        Machine Should Be Unharmed    ${machine}    ${manifest}
        Take Proven Snapshot    ${machine}    ${manifest}
    END
    GROUP    [4/4] Destroy
        Destroy To The Last    ${machine}
    END

Way To The Market Breaks
    [Documentation]    What the market does not tell us is unknown, and no machine is called gone because of that.
    [Metadata]    Report    faults_market_unreachable
    [Tags]    long
    GROUP    [1/3] Provision
        ${machine} =    Rent GPU Machine
    END
    GROUP    [2/3] Unknown
        Cut Way    market
        Should Be Told    UNKNOWN: Market API at * answered before, but not to GET *    Destroy Machine    ${machine}
    END
    GROUP    [3/3] Destroy
        Mend Sandbox
        Destroy To The Last    ${machine}
    END


*** Keywords ***
Make All Ways Long
    FOR    ${way}    IN    control    market    store    agents    product-market    product-store
        Add Toxic    ${way}    latency    latency=40    jitter=20
    END
