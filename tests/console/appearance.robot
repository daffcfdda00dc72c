*** Comments ***
# robocop: off=LEN03 - a person's way through all pages is many clicks


*** Settings ***
Documentation    Every page fits a wide and a narrow screen, can be read in light and dark, and loads nothing foreign.

Library          OperatingSystem
Resource         console.resource

Test Teardown    Leave
Test Template    Every Page Should Look Right


*** Test Cases ***    VIEWPORT    SCHEME
Wide And Light    ${WIDE}    light
Wide And Dark    [Tags]    long
    ${WIDE}    dark
Narrow And Light    [Tags]    long
    ${NARROW}    light
Narrow And Dark    ${NARROW}    dark


*** Keywords ***
Every Page Should Look Right
    [Arguments]    ${viewport}    ${scheme}
    New Context    viewport=${viewport}    colorScheme=${scheme}
    New Page    ${CONSOLE}/login
    This Page Should Look Right    login
    ${id} =    Rent    label=a machine with quite a long name of its own
    Protect    ${id}
    Go To    ${CONSOLE}/login?auto_login=demo
    Get Element States    [data-testid=stats]    not contains    busy
    This Page Should Look Right    dashboard
    Click    role=button[name="Nova Máquina"]
    Check Checkbox    role=radio[name="Europa"]
    This Page Should Look Right    wizard-region
    Click    role=button[name="Próximo"]
    Check Checkbox    role=radio[name="RTX 4090"]
    This Page Should Look Right    wizard-hardware
    Go To    ${CONSOLE}/app/machines
    Open Machine    ${id}
    This Page Should Look Right    machine
    Click    role=button[name="Simular Failover"]
    Wait For Elements State    [data-testid=failover-progress-panel][data-over=true]
    This Page Should Look Right    failover
    Click    role=link[name="Relatório de Failover"]
    Get Element States    [data-testid=report-body]    contains    visible
    This Page Should Look Right    report

This Page Should Look Right
    [Arguments]    ${name}
    ${look} =    Get File    ${CURDIR}/appearance.js
    Take Screenshot    ${OUTPUT DIR}/console-${name}-{index}    fullPage=True
    ${wrong} =    Evaluate JavaScript    ${None}    ${look}
    Should Be Equal    ${wrong}    ${{ [] }}    ${name}: ${wrong}    values=False
