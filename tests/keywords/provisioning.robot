*** Settings ***
Documentation     Renting and destroying: what a person reads when the market has nothing, or nothing good.

Library           ProvisioningLibrary
Library           SandboxLibrary

Suite Setup       Open Target    sandbox    budget_usd=${1}
Suite Teardown    Destroy All Machines And Prove It
Test Teardown     Mend Sandbox


*** Test Cases ***
A Machine Is Rented And Destroyed
    ${machine} =    Rent Machine    max_price=1.0
    Host Key Should Be Pinned    ${machine}
    Destroy Machine    ${machine}
    Machine Should Be Gone    ${machine}

Nothing Is Offered Under The Price Cap
    Run Keyword And Expect Error
    ...    WEATHER: No GPU offers available under $0.01/h*raise MAX_PRICE.
    ...    Rent Machine    max_price=0.01

The Budget Is Kept
    Run Keyword And Expect Error
    ...    Renting offer * reserves $*, but only $* of the budget of $1.00 is left. Raise BUDGET_USD*
    ...    Rent Machine    max_price=100    gpu_name=H100 SXM

A Machine That Never Boots Is Destroyed Again
    Break New Machines    boot_hangs
    Run Keyword And Expect Error
    ...    WEATHER: Instance not ready after 2 s:*loading*
    ...    Rent Machine    max_price=1.0    ready_timeout=2s

A Machine That Refuses SSH Is Destroyed Again
    Break New Machines    ssh_refused
    Run Keyword And Expect Error
    ...    *SSH connection refused*
    ...    Rent Machine    max_price=1.0    ready_timeout=2s

A Machine That Is Kept Alive At Destroy Is Found Out
    ${machine} =    Rent Machine    max_price=1.0
    Break Answers    control    ^DELETE .*/instances/\\d+$    200    {"success": true}
    Run Keyword And Expect Error
    ...    Dumont Cloud answered that machine ${machine.id} * was destroyed, but * the marketplace still*
    ...    Destroy Machine    ${machine}
