*** Settings ***
Documentation     A machine that shall have another GPU: what a person reads when it cannot, and that it goes on then.

Library           FailoverLibrary
Resource          keywords.resource

Suite Setup       Share A Small Machine
Suite Teardown    Destroy All Machines And Prove It
Test Teardown     Mend Sandbox


*** Test Cases ***
The Same GPU Again
    Run Keyword And Expect Error
    ...    machine ${MACHINE.id} * has that GPU already: migrate to another model than ${MACHINE.gpu_name}.
    ...    Migrate Machine    ${MACHINE}    ${MACHINE.gpu_name}    max_price=1

A Price That Nobody Offers
    Run Keyword And Expect Error
    ...    WEATHER: No GPU offers available under $0.01/h for a machine to replace ${MACHINE.id}. *
    ...    Migrate Machine    ${MACHINE}    RTX 4090    max_price=0.01

A GPU That Nobody Offers
    [Documentation]    Others are offered at that price, so that the product itself has to find out.
    Run Keyword And Expect Error
    ...    Migration * of machine ${MACHINE.id} * failed in searching_gpu after * s: *
    ...    Migrate Machine    ${MACHINE}    GTX 1    max_price=1
    Machine Should Go On

The New Machines Never Answer
    [Documentation]    Our patience ends before the product's. What it has rented until then does not stay, nor what it
    ...    rents afterwards.
    ${mover} =    Rent Small Machine
    Break New Machines    ssh_refused
    Run Keyword And Expect Error
    ...    Renting a machine to replace ${mover.id} failed and left machine * rented; destroyed now, and proven gone.*
    ...    Migrate Machine    ${mover}    RTX 4090    max_price=1    timeout=3s
    Destroy Machine    ${mover}
    ${status} =    Sandbox Status
    Should Match Regexp    ${status}    (?m)^ *${MACHINE.id}${SPACE}
    Should Not Contain    ${status}    RTX 4090

A Failover Is Refused
    Run Keyword And Expect Error
    ...    Dumont API refused POST * with 404: Instance ${MACHINE.id} has nothing to fail over to *
    ...    Fail Over    ${MACHINE}
    Machine Should Go On


*** Keywords ***
Machine Should Go On
    [Documentation]    Nobody has halted it, and it is the same one.
    ${id} =    Run On Machine    ${MACHINE}    echo "$CONTAINER_ID"
    Should Be Equal As Integers    ${id}    ${MACHINE.id}
