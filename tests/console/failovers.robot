*** Comments ***
# robocop: off=LEN03,LEN06 - a person's way through a page is many clicks


*** Settings ***
Documentation    The switch, the progress panel and the report: each figure on them is the API's.

Resource         console.resource

Test Teardown    Leave


*** Variables ***
${PANEL}     [data-testid=failover-progress-panel]
@{PHASES}    detecting    gpu_lost    failover_to_cpu    searching_gpu    provisioning    restoring    complete


*** Test Cases ***
A Machine Is Protected And Fails Over By A Click
    ${id} =    Rent    label=protected    files=echo safe >kept
    Visit As Demo User    /app/machines
    Open Machine    ${id}
    Click    role=switch[name="CPU Standby"]
    Get Text    [data-testid=standby-state]    ==    Pronto para failover
    Get Checkbox State    role=switch[name="CPU Standby"]    ==    checked
    Click    role=button[name="Simular Failover"]
    Wait For Elements State    ${PANEL}\[data-over=true]
    The Panel Should Tell The Truth    ${id}
    ${new} =    Get Text    [data-testid=instance-id]
    ${rented} =    Machines Of Market
    Should Be Equal    ${rented}    ${{ [$new] }}
    Get Element Count    [data-testid=machine-card-${id}]    ==    0
    ${content} =    Run On    ${new}    cat /workspace/kept
    Should Be Equal    ${content}    safe\n
    The Report Should Have It

Two Clicks Begin One Failover
    ${id} =    Rent    label=twice
    Protect    ${id}
    Visit As Demo User    /app/machines
    Open Machine    ${id}
    Click With Options    role=button[name="Simular Failover"]    clickCount=2
    Wait For Elements State    ${PANEL}\[data-over=true]
    Get Element Count    ${PANEL}    ==    1
    Get Element Count    role=alert    ==    0

Without Anything To Come Back From The Machine Stays
    ${id} =    Rent    label=bare
    Visit As Demo User    /app/machines
    Open Machine    ${id}
    Click    role=button[name="Simular Failover"]
    Get Text    [data-testid=error-message]    *=    has nothing to fail over to
    ${rented} =    Machines Of Market
    Should Be Equal    ${rented}    ${{ [$id] }}
    Get Element Count    ${PANEL}    ==    0

A Preempted Machine Shows Its Failover Without A Click
    ${id} =    Rent    label=preempted
    Protect    ${id}
    Visit As Demo User    /app/machines
    Get Element States    [data-testid=machine-card-${id}]    contains    visible
    Preempt    ${id}
    Wait For Elements State    ${PANEL}\[data-over=true]
    The Panel Should Tell The Truth    ${id}

The Standby Is Switched Off
    ${id} =    Rent    label=off
    Protect    ${id}
    Visit As Demo User    /app/machines
    Open Machine    ${id}
    Get Checkbox State    role=switch[name="CPU Standby"]    ==    checked
    Click    role=switch[name="CPU Standby"]
    Get Text    [data-testid=standby-state]    ==    Desligado
    Ask Api    /standby/associations/${id}    status=404

A Report That Cannot Be Had Is An Error
    Visit As Demo User
    Break Answers Of Api    GET .*/failover/report    status=500    error=no report today
    Go To    ${CONSOLE}/app/failover-report
    Get Text    [data-testid=report-error]    *=    no report today
    Get Element States    [data-testid=report-body]    contains    hidden
    Mend Api
    Click    role=button[name="7 dias"]
    Get Element States    [data-testid=report-body]    contains    visible


*** Keywords ***
The Panel Should Tell The Truth
    [Documentation]    Every phase with the seconds that the API has, which add up to the total that the page shows.
    [Arguments]    ${id}
    ${failover_id} =    Get Attribute    ${PANEL}    data-failover-id
    ${event} =    Ask Api    /standby/failover/status/${failover_id}
    Should Be Equal As Integers    ${event}[gpu_instance_id]    ${id}
    VAR    ${sum: float} =    0
    FOR    ${phase}    IN    @{PHASES}
        Get Attribute    ${PANEL} >> li[data-phase=${phase}]    data-state    ==    done
        Get Text    ${PANEL} >> li[data-phase=${phase}]    contains    ${phase}
        IF    "${phase}" == "complete"    BREAK
        ${shown} =    Get Property    ${PANEL} >> li[data-phase=${phase}] >> data    value
        Should Be Equal As Numbers    ${shown}    ${{ $event["phase_timings_ms"][$phase] / 1000 }}    precision=6
        VAR    ${sum: float} =    ${{ $sum + float($shown) }}
    END
    ${total} =    Get Property    [data-testid=failover-total] >> data    value
    Should Be Equal As Numbers    ${total}    ${sum}    precision=2
    ${new} =    Get Text    [data-testid=failover-new-instance]
    Should Start With    ${new}    ${event}[new_instance_id]

The Report Should Have It
    ${failover_id} =    Get Attribute    ${PANEL}    data-failover-id
    Click    role=link[name="Relatório de Failover"]
    Get Text    [data-testid=failover-item-${failover_id}] >> .badge    ==    Sucesso
    ${report} =    Ask Api    /standby/failover/report
    Get Text    [data-testid=metric-total]    ==    ${{ str($report["total_failovers"]) }}
