*** Settings ***
Documentation     The market lists nothing, or a clock is wrong: neither product nor suites believe that alone.

Resource          ../../resources/faults.resource

Suite Setup       Open A Cloud To Be Broken
Suite Teardown    Destroy All Machines And Prove It
Test Teardown     Mend And Publish Report


*** Variables ***
# Longer than the product waits for the heartbeats of a machine until it looks after it.
${UNHEARD}    8s


*** Test Cases ***
Market Lists Nothing
    [Documentation]    And no heartbeat arrives: the product forgets no machine, and rents none in its place.
    [Metadata]    Report    faults_market_lists_nothing
    GROUP    [1/4] Provision
        ${machine}    ${manifest} =    Rent Filled Machine
        Product Should Know    ${machine}
    END
    GROUP    [2/4] Nothing is listed
        Hide Machines
        Cut Way    agents
        Product Should Keep    ${machine}    ${UNHEARD}
    END
    GROUP    [3/4] All is listed again
        Mend Sandbox
        Product Should Know    ${machine}
        Machine Should Be Unharmed    ${machine}    ${manifest}
    END
    GROUP    [4/4] Destroy
        Destroy To The Last    ${machine}
    END

Machine That Nobody Lists Is Not Called Destroyed
    [Documentation]    It answers, and is billed: so it was not destroyed, and we do that.
    [Metadata]    Report    faults_unlisted_is_not_destroyed
    GROUP    [1/3] Provision
        ${machine} =    Rent GPU Machine
    END
    GROUP    [2/3] Destroy
        Hide Machines
        Should Be Told
        ...    Dumont Cloud answered that machine * is unknown to it, but SSH on * still answers, and it still bills*
        ...    Destroy Machine    ${machine}    timeout=1s
    END
    GROUP    [3/3] Proof
        Mend Sandbox
        Machine Should Be Gone    ${machine}
        Market Should Have    0
    END

Clock Jumps Ahead
    [Documentation]    An hour has passed for the product alone: no machine was idle for so long, or lost.
    [Metadata]    Report    faults_clock_ahead
    [Tags]    long
    GROUP    [1/4] Provision
        ${machine}    ${manifest} =    Rent Filled Machine
        Hibernate When Idle    ${machine}    after=30 minutes
        Product Should Know    ${machine}
    END
    GROUP    [2/4] An hour later
        Set Clock    control    1 hour
        Product Should Keep    ${machine}    2s
    END
    GROUP    [3/4] Snapshot
        Machine Should Be Unharmed    ${machine}    ${manifest}
        Take Proven Snapshot    ${machine}    ${manifest}
    END
    GROUP    [4/4] Destroy
        Destroy To The Last    ${machine}
    END

Clock Is Put Back
    [Documentation]    By an hour. Nobody is locked out by it, and an idle machine does not wait for it to pass again.
    [Metadata]    Report    faults_clock_back
    GROUP    [1/4] Provision
        ${machine}    ${manifest} =    Rent Filled Machine
        Product Should Know    ${machine}
    END
    GROUP    [2/4] An hour earlier
        Set Clock    control    -1 hour
        Product Should Keep    ${machine}    2s
    END
    GROUP    [3/4] Hibernation
        Hibernate When Idle    ${machine}    after=1s
        ${snapshot} =    Wait Until Hibernated    ${machine}    timeout=1 minute
        Snapshot Should Be Whole In Bucket    ${snapshot}    ${manifest}
    END
    GROUP    [4/4] Destroy
        Machine Should Be Gone    ${machine}
        Market Should Have    0
    END
