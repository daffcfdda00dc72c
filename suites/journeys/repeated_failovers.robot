*** Settings ***
Documentation     A machine is lost again and again, and every time its work goes on on the next one. How fast, and how
...               much of the last work is lost, is told over all cycles.

Resource          ../../resources/repeated_failovers.resource

Suite Setup       Open The Target
Suite Teardown    Destroy All Machines And Prove It
Test Teardown     Publish Report
Test Template     Machine Should Survive Again And Again

Test Tags         journey    failover    cycles    long


*** Test Cases ***
Preempted Machine Fails Over Again And Again
    [Documentation]    The market takes each machine away; nobody asks for anything.
    [Metadata]    Report    repeated_preemptions
    Kill Machine
Machine Is Failed Over By API Again And Again
    [Documentation]    What "Simular Failover" does, each time on the machine that took over last.
    [Metadata]    Report    repeated_failovers
    Fail Over
