*** Comments ***
# robocop: off=LEN06 - a person's way through a page is many clicks


*** Settings ***
Documentation    "Nova Máquina": what the page shows is what the API and the market have.

Resource         console.resource

Test Teardown    Leave


*** Test Cases ***
A Race Brings One Machine And Says So When The Others Are Gone
    Visit As Demo User
    Choose In Wizard    Qualquer região    RTX 4090    Race — mais rápido    label=raced
    Click    role=button[name="Iniciar"]
    Click    role=link[name="Usar Esta Máquina"]
    ${id} =    Get Text    [data-testid=instance-id]
    ${rented} =    Machines Of Market
    Should Be Equal    ${rented}    ${{ [$id] }}
    ${row} =    Ask Api    /instances/${id}
    Should Be Equal    ${row}[label]    raced
    Get Text    [data-testid=open-details]    ==    raced
    Get Text    [data-testid=machine-gpu]    ==    RTX 4090
    Get Text    [data-testid=machine-status]    ==    Online
    ${price} =    Get Property    [data-testid=machine-price]    value
    Should Be Equal As Numbers    ${price}    ${row}[dph_total]

Machines That Only Compete Are Nobody's
    Hold Answers Of Market    DELETE .*/instances/.*    seconds=3
    Visit As Demo User
    Choose In Wizard    Qualquer região    RTX 4090    Race — mais rápido    label=raced
    Click    role=button[name="Iniciar"]
    Get Text    [data-testid=candidates]    contains    Pronta!
    Go To    ${CONSOLE}/app/machines
    Get Text    [data-testid=machine-status] >> nth=0    ==    Concorrendo
    Get Text    [data-testid=machine-status] >> nth=1    ==    Concorrendo
    Get Text    [data-testid=machines-status]    ==    Nenhuma máquina
    Get Text    [data-testid=machines-status]    ==    1 máquina
    Get Text    [data-testid=machine-status]    ==    Online

The Cheapest Offer Is Rented Alone
    Visit As Demo User
    Choose In Wizard    EUA    RTX 3090    Mais econômica    label=cheap
    Click    role=button[name="Iniciar"]
    Get Text    [data-testid=race-title]    ==    Máquina Conectada!
    Get Element Count    [data-testid=candidates] li    ==    1
    Get Text    [data-testid=provisioning-candidate-0]    contains    Conectado

What Is Missing Is Named
    Visit As Demo User
    Click    role=button[name="Nova Máquina"]
    Click    role=button[name="Próximo"]
    Get Text    [data-testid=wizard-error]    *=    escolha uma região
    Check Checkbox    role=radio[name="EUA"]
    Click    role=button[name="Próximo"]
    Click    role=button[name="Próximo"]
    Get Text    [data-testid=wizard-error]    *=    escolha uma GPU

No Offer Is No Error, And An Error Is Not An Empty List
    Visit As Demo User
    Click    role=button[name="Nova Máquina"]
    Check Checkbox    role=radio[name="EUA"]
    Click    role=button[name="Próximo"]
    Fill Text    role=spinbutton[name="Preço máximo (US$/h)"]    0.01
    Keyboard Key    press    Tab
    Get Text    [data-testid=offers-status]    ==    Nenhuma oferta livre com estes limites.
    Break Answers Of Api    GET .*/offers    status=503    error=the market is away
    Fill Text    role=spinbutton[name="Preço máximo (US$/h)"]    2
    Keyboard Key    press    Tab
    Get Text    [data-testid=wizard-error]    *=    the market is away
    Get Text    [data-testid=offers-status]    ==    ${EMPTY}

A Refused Race Is Told And Nothing Is Rented
    Visit As Demo User
    Choose In Wizard    EUA    RTX 3090    Mais econômica    label=refused
    Break Answers Of Api    POST .*/race    status=402    error=Saldo insuficiente
    Click    role=button[name="Iniciar"]
    Get Text    [data-testid=wizard-error]    *=    Saldo insuficiente
    ${rented} =    Machines Of Market
    Should Be Empty    ${rented}

The Keyboard Alone Is Enough
    Visit As Demo User
    Focus    role=button[name="Nova Máquina"]
    Press Keys In Turn    Enter    Tab    Space    ArrowDown    Enter
    Get Text    [data-testid=offers-status]    *=    ofertas livres
    # Price, disk, name, the first GPU.
    Press Keys In Turn    Tab    Tab    Tab    Tab    Space    Enter
    Press Keys In Turn    Tab    Tab    Tab    Enter
    Get Text    [data-testid=race-title]    ==    Máquina Conectada!
    Press Keys In Turn    Enter
    Get Text    role=heading[level=1]    ==    Minhas Máquinas


*** Keywords ***
Press Keys In Turn
    [Arguments]    @{keys}
    FOR    ${key}    IN    @{keys}
        Keyboard Key    press    ${key}
    END
