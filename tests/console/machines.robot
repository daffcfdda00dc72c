*** Comments ***
# robocop: off=LEN06 - a person's way through a page is many clicks


*** Settings ***
Documentation    The machines' cards: state, snapshots, hibernation, destruction.

Resource         console.resource

Test Teardown    Leave


*** Test Cases ***
A List That Cannot Be Had Is An Error And The Last One Stays
    ${id} =    Rent    label=steady
    Visit As Demo User    /app/machines
    Get Element States    [data-testid=machine-card-${id}]    contains    visible
    Break Answers Of Api    GET /api/v1/instances$    status=500    error=the list is broken
    Get Text    [data-testid=machines-error]    *=    the list is broken
    Get Element States    [data-testid=machine-card-${id}]    contains    visible
    Mend Api
    Wait For Elements State    [data-testid=machines-error]    hidden

A Snapshot Is Taken And Put Back
    ${id} =    Rent    label=saved    files=echo precious >kept
    Visit As Demo User    /app/machines
    Open Machine    ${id}
    Click    role=button[name="Criar Snapshot"]
    Get Text    [data-testid=news]    *=    criado:
    Run On    ${id}    rm /workspace/kept
    Click    role=button[name="Restaurar Snapshot"]
    Click    [data-testid=snapshot-list] label >> nth=0
    Click    role=button[name="Restaurar"]
    Get Text    [data-testid=news]    *=    restaurado na máquina ${id}
    ${content} =    Run On    ${id}    cat /workspace/kept
    Should Be Equal    ${content}    precious\n

A Snapshot Is Restored Onto A New Machine
    ${id} =    Rent    label=origin    files=echo moved >kept
    Visit As Demo User    /app/machines
    Open Machine    ${id}
    Click    role=button[name="Criar Snapshot"]
    Get Text    [data-testid=news]    *=    criado:
    Click    role=button[name="Restaurar em Nova"]
    Click    [data-testid=snapshot-list] label >> nth=0
    Click    role=button[name="Restaurar"]
    Get Text    [data-testid=news]    matches    (?s).*Snapshot \\w+ restaurado na máquina nova
    ${rented} =    Machines Of Market
    ${content} =    Run On    ${rented}[-1]    cat /workspace/kept
    Should Be Equal    ${content}    moved\n

A Machine Sleeps And Wakes
    ${id} =    Rent    label=sleeper    files=echo awake >kept
    Visit As Demo User    /app/machines
    Open Machine    ${id}
    Click    role=button[name="Hibernar"]
    Get Text    [data-testid=machine-card-${id}] >> [data-testid=machine-status]    ==    Hibernada
    ${rented} =    Machines Of Market
    Should Be Empty    ${rented}
    Click    role=button[name="Acordar"]
    Wait For Elements State    [data-testid=machine-card-${id}]    detached
    Get Text    [data-testid=machine-status]    ==    Online
    ${rented} =    Machines Of Market
    ${content} =    Run On    ${rented}[0]    cat /workspace/kept
    Should Be Equal    ${content}    awake\n

Destroying Is Asked For First
    ${id} =    Rent    label=mortal
    Visit As Demo User    /app/machines
    Open Machine    ${id}
    Click    role=button[name="Destruir"]
    Get Text    role=dialog    *=    Destruir máquina?
    Click    role=button[name="Cancelar"]
    Wait For Elements State    role=dialog    hidden
    ${rented} =    Machines Of Market
    Should Be Equal    ${rented}    ${{ [$id] }}
    Click    role=button[name="Destruir"]
    Click    role=button[name="Confirmar"]
    Wait For Elements State    [data-testid=machine-card-${id}]    detached
    Get Text    [data-testid=machines-status]    ==    Nenhuma máquina
    ${rented} =    Machines Of Market
    Should Be Empty    ${rented}

A Machine Migrates To Another Model
    ${id} =    Rent    label=mover    files=echo carried >kept
    Visit As Demo User    /app/machines
    Open Machine    ${id}
    Click    role=button[name="Migrar"]
    Select Options By    role=combobox[name="GPU"]    value    RTX 4090
    Click    role=button[name="Iniciar Migração"]
    Wait For Elements State    [data-testid=migration-progress-panel][data-phase=complete]
    ${new} =    Get Text    [data-testid=instance-id]
    Get Text    [data-testid=machine-gpu]    ==    RTX 4090
    ${rented} =    Machines Of Market
    Should Be Equal    ${rented}    ${{ [$new] }}
    ${content} =    Run On    ${new}    cat /workspace/kept
    Should Be Equal    ${content}    carried\n

The Migration Dialog Offers Other Models And Can Be Left
    ${id} =    Rent    label=mover
    Visit As Demo User    /app/machines
    Open Machine    ${id}
    Click    role=button[name="Migrar"]
    Get Element Count    role=combobox[name="GPU"] >> option    >    3
    ${row} =    Ask Api    /instances/${id}
    Get Text    role=combobox[name="GPU"]    not contains    ${row}[gpu_name] ·
    Click    role=button[name="Cancelar"]
    ${rented} =    Machines Of Market
    Should Be Equal    ${rented}    ${{ [$id] }}
