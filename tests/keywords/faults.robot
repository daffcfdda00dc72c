*** Settings ***
Documentation     Tests of faults must be able to fail: when nothing fails, or in other words, or no fault has struck.

Library           FaultsLibrary
Resource          keywords.resource

Suite Setup       Open Own Cloud
Suite Teardown    Destroy All Machines And Prove It
Test Teardown     Mend Sandbox


*** Test Cases ***
What Does Not Fail Is No Weather
    Run Keyword And Expect Error
    ...    Log passed, but had to fail.
    ...    Should Fail As Weather    No GPU*    Log    All is well.

Another Failure Is No Weather
    Run Keyword And Expect Error
    ...    Fail failed for another reason than expected: No GPU is there.
    ...    Should Fail As Weather    No GPU*    Fail    No GPU is there.

A Fault That Has Not Struck
    Let Market Refuse    ^PUT /api/v0/asks/    429    times=2
    Run Keyword And Expect Error
    ...    UNKNOWN: Nothing was tested: ^PUT /api/v0/asks/ was not refused 2 times.
    ...    Faults Should Have Struck

One Machine Too Many
    ${machine} =    Rent Small Machine
    Run Keyword And Expect Error
    ...    The market should have 0 machines of this run, but it has 1: ${machine.id} (running).
    ...    Market Should Have    0
    Destroy Machine    ${machine}

A Cloud Without Network
    Run Keyword And Expect Error
    ...    The network of this embedded cloud cannot be broken: it was started without proxies.
    ...    Cut Way    market

A Live Target
    Run Keyword And Expect Error
    ...    Faults are put on the embedded cloud only, never on TARGET:live. Leave these suites out: --exclude faults
    ...    Target Should Be Breakable    live
