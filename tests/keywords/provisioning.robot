*** Settings ***
Documentation     Renting and destroying: what a person reads when the market has nothing, or nothing good.

Resource          keywords.resource

Suite Setup       Open Own Cloud
Suite Teardown    Destroy All Machines And Prove It
Test Teardown     Mend Sandbox


*** Test Cases ***
A Machine Is Rented And Destroyed
    ${machine} =    Rent Small Machine
    Host Key Should Be Pinned    ${machine}
    Run Keyword And Expect Error
    ...    This keyword needs SSHLibrary, which the suite does not import. Add a line to its settings: *SSHLibrary
    ...    Open SSH Connection    ${machine}
    Destroy Machine    ${machine}

Nothing Is Offered Under The Price Cap
    Run Keyword And Expect Error
    ...    WEATHER: No GPU offers available under $0.01/h with 20 GB of disk. Wait some minutes or raise MAX_PRICE.
    ...    Rent Machine    max_price=0.01    disk_gb=20

A GPU Is Not On Offer Now
    Run Keyword And Expect Error
    ...    WEATHER: No GPU offers available under $1.00/h for RTX 2080 Ti in EU with 20 GB of disk. Wait some minutes*
    ...    Rent Machine    max_price=1    disk_gb=20    gpu_name=RTX 2080 Ti    region=EU
    Run Keyword And Expect Error
    ...    WEATHER: No GPU offers available under $1.00/h for RTX 2080 Ti with 20 GB of disk. Wait some minutes*
    ...    GPU Should Be On Offer    RTX 2080 Ti    max_price=1    disk_gb=20

No Market Knows The GPU
    Run Keyword And Expect Error
    ...    gpu_name must be the name of a GPU as the market spells it, such as *; no market knows 'RTX4090'. * 4090*
    ...    Rent Machine
    ...    max_price=1
    ...    disk_gb=20
    ...    gpu_name=RTX4090
    VAR    ${OTHER_GPU} =    RTX9999    scope=TEST    # robocop: off=VAR06
    Run Keyword And Expect Error
    ...    OTHER_GPU must be the name of a GPU as the market spells it, *; no market knows 'RTX9999'. Similar *
    ...    GPUs Should Be Known

Arguments Are Out Of Bounds
    [Template]    Rent Should Be Refused
    disk_gb must be a whole number of GB from 10 to 10000, such as *; it is 0.    disk_gb=0
    minutes must be a number of minutes from 0.1 to 1440, such as *; it is -5.0.    minutes=-5
    max_price must be a number of USD an hour from 0.001 to 100, such as *; it is inf.    max_price=inf
    ready_timeout must be a time from 0.1 s to 24 h, such as *; it is -5.0.    ready_timeout=-5s

The Budget Is Kept
    Run Keyword And Expect Error
    ...    Renting offer * (H100 SXM, $*/h) and 20 GB of disk for up to 300 min reserves $*, but only $* of the budget*
    ...    Rent Machine    max_price=100    gpu_name=H100 SXM    disk_gb=20    minutes=300

A Machine That Never Boots Is Destroyed Again
    Break New Machines    boot_hangs
    Run Keyword And Expect Error
    ...    WEATHER: Instance not ready after 1 s: machine * stayed `loading`. It was destroyed, and was proven gone*
    ...    Rent Machine    max_price=${MAX_PRICE}    disk_gb=20    ready_timeout=1s

A Machine That Refuses SSH Is Destroyed Again
    Break New Machines    ssh_refused
    Run Keyword And Expect Error
    ...    WEATHER: SSH connection refused: machine * is `running`, but after 2 s * It was destroyed, and was proven*
    ...    Rent Machine
    ...    max_price=${MAX_PRICE}
    ...    disk_gb=20
    ...    ready_timeout=2s

The Market Refuses Everybody For A While
    [Documentation]    429 is waited out: 2 s after the first refusal.
    Break Answers    control    ^GET .*/offers$    429    {"error": "rate limited"}    times=1
    ${machine} =    Rent Small Machine
    Destroy Machine    ${machine}

A Machine That Is Kept Alive At Destroy Is Found Out
    ${machine} =    Rent Small Machine
    Break Answers    control    ^DELETE .*/instances/\\d+$    200    {"success": true}
    Run Keyword And Expect Error
    ...    Dumont Cloud answered that machine ${machine.id} * was destroyed, but * the marketplace still lists it*
    ...    Destroy Machine
    ...    ${machine}
    ...    timeout=1s
    Machine Should Be Gone    ${machine}


*** Keywords ***
Rent Should Be Refused
    [Arguments]    ${words}    &{arguments}
    VAR    &{all} =    max_price=${MAX_PRICE}    disk_gb=20
    Run Keyword And Expect Error    ${words}    Rent Machine    &{{ $all | $arguments }}
