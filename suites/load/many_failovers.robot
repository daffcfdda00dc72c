*** Settings ***
Documentation     Many machines are lost in the same moment. None is lost for good; and how the time until all are back
...               grows with their number.

Resource          ../../resources/load.resource

Suite Setup       Open The Target
Suite Teardown    Compare Crowds And Leave Nothing
Test Teardown     Publish Report And Leave No Machine
Test Template     Machines Should Survive Together

Test Tags         load    failover    long


*** Test Cases ***
Three Machines Are Lost At Once
    [Metadata]    Report    failovers_at_once_3
    ${3}
One Machine Is Lost
    [Documentation]    What the others are compared with.
    [Metadata]    Report    failovers_at_once_1
    ${1}
Five Machines Are Lost At Once
    [Metadata]    Report    failovers_at_once_5
    ${5}
Ten Machines Are Lost At Once
    [Metadata]    Report    failovers_at_once_10
    ${10}
Many Machines Are Lost At Once
    [Metadata]    Report    failovers_at_once_many
    ${FAILOVERS}


*** Keywords ***
Publish Report And Leave No Machine
    [Documentation]    The next number of machines starts on a cloud that does nothing else.
    Publish Report
    Destroy All Machines And Prove It

Compare Crowds And Leave Nothing
    Compare Crowds
    Destroy All Machines And Prove It
