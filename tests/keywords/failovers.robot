*** Settings ***
Documentation     Failovers in a row: what counts as one, and what a person reads when one does not.

Library           CostLibrary
Library           FailoverLibrary
Resource          ../../resources/multiple_failovers.resource
Resource          ../../resources/repeated_failovers.resource
Resource          keywords.resource

Suite Setup       Share A Filled Machine
Suite Teardown    Destroy All Machines And Prove It


*** Test Cases ***
A Failover By Itself
    ${machine} =    Rent Filled Machine
    ${another} =    Fail Over To Another Machine    a-nonce    ${machine}
    Machine Should Be Gone    ${machine}
    Destroy Machine    ${another}

A Failover Of The Product By Itself
    [Tags]    long
    ${machine} =    Rent Filled Machine
    ${standby} =    Enable Standby    ${machine}
    VAR    ${LOSS} =    Fail Over    scope=TEST    # robocop: off=VAR06
    ${another} =    Lose Machine And Prove Its Failover    a-nonce    ${machine}
    Machine Should Be Gone    ${machine}
    Destroy Machine And Standby    ${another}    ${standby}

A Keyword That Returns No Machine
    Failovers Should Fail
    ...    Cycle 1 of 2 failed: Keyword 'Pretend To Fail Over' must return the machine that took over; it*
    ...    Return Nothing

The Same Machine
    Failovers Should Fail
    ...    Cycle 1 of 2 failed: No other machine has taken over: machine * has the work, as before.\n*
    ...    Return The Same Machine

The Old Machine Stays
    Failovers Should Fail
    ...    Cycle 1 of 2 failed: After a failover from machine * to machine * the old one is still rented.\n*
    ...    Leave The Old Machine

Nothing Is Compared
    [Setup]    Share A Filled Machine
    Failovers Should Fail
    ...    UNKNOWN: Cycle 1 of 2 failed: No file was compared on machine *, so nobody can tell that the work has come*
    ...    Compare Nothing

A Step Fails
    [Setup]    Share A Filled Machine
    Failovers Should Fail
    ...    Cycle 1 of 2 failed in restore: It is broken.\nFailovers that succeeded: 0 of 2 (0 %); 1 did not run.
    ...    Fail In A Step

No Failover Was Tried
    Run Keyword And Expect Error
    ...    UNKNOWN: No failover was tried in this test: [[]Repeat Failover[]] comes first.
    ...    All Failovers Should Have Succeeded

Too Few Files To Change
    ${machine} =    Rent Small Machine
    Run Keyword And Expect Error
    ...    /workspace has 0 files of 1 to 1000000 bytes, but 8 are needed to change some of them * Create more files*
    ...    Change Files    ${machine}    ${WORKSPACE}    a-nonce

A Test That Does Not Say What It Rents
    Run Keyword And Expect Error
    ...    Test * must say how many machines it rents, and for about how many minutes each, before anything is started:*
    ...    Cost Should Be Agreed
    ...    real=${False}
    ...    max_price=1
    ...    disk_gb=20
    ...    most_minutes=60


*** Keywords ***
Rent Filled Machine
    ${machine} =    Rent Small Machine
    Create Test Files    ${machine}    ${WORKSPACE}    small_files=20    large_bytes=100000
    RETURN    ${machine}

Share A Filled Machine
    Open Own Cloud
    ${machine} =    Rent Filled Machine
    VAR    ${MACHINE} =    ${machine}    scope=SUITE    # robocop: off=VAR05

Failovers Should Fail
    [Arguments]    ${words}    ${way}
    VAR    ${WAY} =    ${way}    scope=TEST    # robocop: off=VAR06
    Repeat Failover    2    Pretend To Fail Over    ${MACHINE}
    Run Keyword And Expect Error    ${words}    All Failovers Should Have Succeeded

Pretend To Fail Over
    [Arguments]    ${nonce}    ${old}
    Log    ${nonce}
    ${new} =    Run Keyword    Pretend To ${WAY}    ${old}
    RETURN    ${new}

Pretend To Return Nothing
    [Arguments]    ${old}
    Log    ${old}

Pretend To Return The Same Machine
    [Arguments]    ${old}
    RETURN    ${old}

Pretend To Leave The Old Machine
    [Arguments]    ${old}
    Log    ${old}
    ${new} =    Rent Small Machine
    RETURN    ${new}

Pretend To Compare Nothing
    [Arguments]    ${old}
    ${new} =    Rent Small Machine
    Destroy Machine    ${old}
    RETURN    ${new}

Pretend To Fail In A Step
    [Arguments]    ${old}
    GROUP    [1/1] Restore
        Log    ${old}
        Fail    It is broken.
    END
