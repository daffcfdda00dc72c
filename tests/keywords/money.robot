*** Settings ***
Documentation    What a run pays for: its bill is compared with what was measured, and its budget is kept.

Library          OperatingSystem
Resource         keywords.resource

Suite Setup      Close Target
Test Setup       Open Whole Cloud
Test Teardown    Close What Is Open


*** Test Cases ***
Everything That Was Paid For Is On The Bill
    [Documentation]    The machine, its disk, and 3 MB of traffic in one direction.
    ${machine} =    Rent Small Machine
    Evaluate    $machine.machine.run("head -c 3000000 /dev/zero")
    Destroy Machine    ${machine}
    ${bill} =    Close Target And Read Bill
    Should Be True    $bill["agrees"] and len($bill["items"]) == 1
    Should Be Equal    ${{sorted($bill["billed"])}}    ${{["disk", "download", "gpu", "upload"]}}
    VAR    ${price} =    ${machine.traffic_prices}[upload]
    Should Be True    0.003 * $price <= $bill["billed"]["upload"] + 0.000001 < 0.004 * $price + 0.000002
    Should Be True    abs(sum($bill["billed"].values()) - $bill["billed_usd"]) < 0.000003

A Bill That Is Too High
    ${machine} =    Rent And Destroy
    Bill For Machine    ${machine}    0.01
    Run Keyword And Expect Error
    ...    The bill of this run does not agree with what we measured: machine ${machine.id} *: measured $0.000* to *
    ...    Close Target

A Bill That Goes On
    [Tags]    long
    ${machine} =    Rent And Destroy
    Bill For Machine    ${machine}    0    end=${None}
    Run Keyword And Expect Error
    ...    The bill of this run * machine ${machine.id} *: its bill still grows, by $0.*/h. In all*
    ...    Close Target

A Price That Was Not Agreed
    [Tags]    long
    ${machine} =    Rent And Destroy
    Bill For Machine    ${machine}    0    times=1.45
    Run Keyword And Expect Error
    ...    The bill of this run * machine ${machine.id} *: billed at $*/h, agreed $${{"%.4f" % $machine.hourly_usd}}/h*
    ...    Close Target

A Bill For A Machine That Nobody Knows
    [Documentation]    It carries a label of this run, so it is this run's.
    [Tags]    long
    ${machine} =    Rent And Destroy
    Bill For Machine    ${machine}    1.00    id=29079999
    Run Keyword And Expect Error
    ...    The bill of this run * machine 29079999 (billed as ${machine.label}): billed $1.000000, but nothing *
    ...    Close Target

A Bill That Cannot Be Read
    [Tags]    long
    Rent And Destroy
    Break Answers    market    ^GET .*/charges/$    500    {"msg": "out of order"}
    Run Keyword And Expect Error
    ...    UNKNOWN: It cannot be told what the account is charged for: Market API refused * with 500: out of order.
    ...    Close Target

A Machine That Is Stopped Still Costs Money
    ${machine} =    Rent Small Machine
    Stop At The Market    ${machine}
    Run Keyword And Expect Error
    ...    Machine ${machine.id} (label ${machine.label}) was exited, but still rented: $0.00*/h for its disk. *
    ...    Destroy All Machines And Prove It
    Machine Should Be Gone    ${machine}

A Stopped Machine That The Run Has Forgotten
    [Documentation]    It is destroyed all the same: it carries a label of this run.
    [Tags]    long
    ${machine} =    Rent Small Machine
    Stop At The Market    ${machine}
    Evaluate    rekindle.target.current().machines.clear()    modules=rekindle.target
    Run Keyword And Expect Error
    ...    Machine ${machine.id} (label ${machine.label}) was exited, but still rented: *
    ...    Destroy All Machines And Prove It
    Machine Should Be Gone    ${machine}

The Budget Is Overdrawn
    [Documentation]    Nothing more is rented, and the run ends red with the sum, although everything is cleaned up.
    ${machine} =    Rent Small Machine
    Spend    6
    Run Keyword And Expect Error
    ...    Renting offer * and 20 GB of disk for up to 30 min reserves $0.16, but only $0.00 of the budget of $5.00 *
    ...    Rent Small Machine
    Destroy Machine    ${machine}
    Run Keyword And Expect Error
    ...    The budget of $5.00 is overdrawn: $6.01 is spent. Nothing more is rented, and no further test is begun*
    ...    Close Target

No Money For A Standby
    [Tags]    long
    ${machine} =    Rent Small Machine
    Spend    4.8
    Run Keyword And Expect Error
    ...    *Renting a CPU standby of machine ${machine.id} (up to $0.15/h, its disk included) for up to 30 *
    ...    Evaluate
    ...    rekindle.target.current().standbys.enable($machine, 30)
    ...    modules=rekindle.target
    Destroy Machine    ${machine}


*** Keywords ***
Open Whole Cloud
    Open Own Cloud
    Mend Sandbox

Close What Is Open
    [Documentation]    What is red was told by the test already.
    Run Keyword And Ignore Error    Destroy All Machines And Prove It
    Run Keyword And Ignore Error    Close Target

Close Target And Read Bill
    Remove Files    ${OUTPUT_DIR}${/}bill_*.json
    Close Target
    ${files} =    List Files In Directory    ${OUTPUT_DIR}    bill_*.json    absolute=${True}
    ${bill} =    Evaluate    json.loads(pathlib.Path($files[0]).read_text())    modules=json, pathlib
    RETURN    ${bill}

Rent And Destroy
    ${machine} =    Rent Small Machine
    Destroy Machine    ${machine}
    RETURN    ${machine}

Stop At The Market
    [Arguments]    ${machine}
    Evaluate    rekindle.target.current().dumont.pause($machine.id)    modules=rekindle.target

Spend
    [Arguments]    ${usd}
    Evaluate    rekindle.target.current().budget.book(${usd})    modules=rekindle.target

Bill For Machine
    [Documentation]    From now on the market shows a bill of one line.
    [Arguments]    ${machine}    ${usd}    ${end}=${1}    ${id}=${machine.id}    ${times}=1
    VAR    &{row} =
    ...    source=instance-${id}
    ...    description=${machine.label}
    ...    type=gpu
    ...    start=${0}
    ...    end=${end}
    ...    quantity=${1}
    ...    rate=${{$machine.hourly_usd * float($times)}}
    ...    amount=${{float($usd)}}
    VAR    @{rows} =    ${row}
    VAR    &{body} =    results=${rows}    next_token=${None}
    Break Answers    market    ^GET .*/charges/$    200    ${body}
