*** Settings ***
Documentation    Who gets in, and what happens when the session ends.

Resource         console.resource

Test Teardown    Leave


*** Test Cases ***
A Wrong Password Is Told And The Right One Lets In
    New Page    ${CONSOLE}/app/machines
    ${email}    ${password} =    Account Of Cloud
    Fill Text    role=textbox[name="Email"]    ${email}
    Fill Text    "Senha" >> input    not-the-password
    Click    role=button[name="Entrar"]
    Get Text    role=alert    ==    Email ou senha incorretos.
    Fill Secret    "Senha" >> input    ${password}
    Click    role=button[name="Entrar"]
    Get Url    ==    ${CONSOLE}/app/machines
    Get Text    role=heading[level=1]    ==    Minhas Máquinas

The Demo User Needs No Password
    New Page    ${CONSOLE}/login?auto_login=demo
    Get Url    ==    ${CONSOLE}/app
    Get Element States    role=button[name="Nova Máquina"]    contains    visible

A Session That Ends Leads To The Login And Back
    ${id} =    Rent    label=kept
    Visit As Demo User    /app/machines
    Open Machine    ${id}
    Delete All Cookies
    Get Text    role=alert    ==    Sua sessão terminou. Entre de novo para continuar.
    Click    role=link[name="Entrar como demo"]
    Get Text    [data-testid=instance-id]    ==    ${id}

Leaving Ends The Session
    Visit As Demo User
    Click    role=button[name="Sair"]
    Get Url    ==    ${CONSOLE}/login
    Go To    ${CONSOLE}/app
    Get Text    role=heading[level=1]    ==    Login
