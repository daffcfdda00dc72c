*** Settings ***
Documentation    A browser that dies: noticed at once; the teardown goes on, and the next browser works.

Library          BrowserKiller.py
Resource         ../../../resources/journey.resource
Resource         ../../../resources/pages/browser.resource

Suite Setup      Open The Target
Test Setup       Open The Page With A Machine
Test Teardown    Close The Page And Destroy The Machine


*** Test Cases ***
Browser Dies While An Assertion Is Repeated
    [Tags]    long
    Kill Soon    browser
    Get Title    ==    never

Browser Dies While An Element Is Awaited
    Kill Soon    browser
    Wait For Elements State    id=never    visible

Driver Dies While An Assertion Is Repeated
    [Tags]    long
    Kill Soon    driver
    Get Title    ==    never

Driver Dies While An Element Is Awaited
    [Tags]    long
    Kill Soon    driver
    Wait For Elements State    id=never    visible

Driver Dies While The Page Is Compared
    Kill Soon    driver
    Page Should List Our Machines    timeout=1h
    Choice Should Be On Page    never    GPU    timeout=1h

Browser Lives
    Get Title    !=    never


*** Keywords ***
Open The Page With A Machine
    Rent GPU Machine
    Open A Browser
    New Page    ${PAGE}/login

Close The Page And Destroy The Machine
    Close Browser    ALL
    Destroy All Machines And Prove It
    Log To Console    TORN DOWN
