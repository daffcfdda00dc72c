*** Settings ***
Documentation    What a picture of the page must not show.

Library          PageLibrary
Resource         console.resource

Test Setup       New Page    ${CONSOLE}/login
Test Teardown    Leave


*** Variables ***
${CANARY}    c4n4ry-0f-4-p4ssw0rd


*** Test Cases ***
A Typed Password Is Not In The Picture, Nor Is Its Length
    Fill Text    [data-testid=login-password]    short
    ${short} =    Take Journey Screenshot    short
    Fill Text    [data-testid=login-password]    and a longer one
    ${long} =    Take Journey Screenshot    long
    Pictures Should Look The Same    ${short}    ${long}

What Shows A Secret In Clear Is Not Photographed
    Evaluate    rekindle.redaction.KNOWN.learn("CANARY", $CANARY)
    Fill Text    [data-testid=login-email]    ${CANARY}
    Run Keyword And Expect Error
    ...    The page shows CANARY in clear, so no picture is taken of it.
    ...    Take Journey Screenshot    secret
