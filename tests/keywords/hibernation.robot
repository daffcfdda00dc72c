*** Settings ***
Documentation     The product's own way: what a person reads when a machine does not fall asleep, or does not wake.

Resource          keywords.resource

Suite Setup       Open Own Cloud
Suite Teardown    Destroy All Machines And Prove It
Test Teardown     Mend Sandbox


*** Test Cases ***
An Idle Machine Falls Asleep And Wakes Once
    [Documentation]    A warning on the console names the hibernation that is set aside.
    ${hibernation} =    Hibernate A Machine
    Run Keyword And Expect Error
    ...    WEATHER: No GPU offers available under $0.01/h for a machine to wake * on. Wait some minutes or raise*
    ...    Wake Machine    ${hibernation}    max_price=0.01
    ${machine} =    Wake Machine    ${hibernation}    max_price=${MAX_PRICE}
    Workspace Should Equal Manifest    ${machine}    ${hibernation.manifest}
    Run Keyword And Expect Error
    ...    Dumont API refused POST /api/v1/instances/*/wake with 409: Instance * was woken before, as instance *
    ...    Wake Machine    ${hibernation}    max_price=${MAX_PRICE}
    Should Be Set Aside    ${hibernation}    ${machine}
    Destroy Machine    ${machine}
    Forget Hibernation    ${hibernation}
    No Hibernation Should Be Kept

A Damaged Hibernation Is Reported Once
    [Documentation]    A warning on the console names the hibernation that is set aside.
    ${hibernation} =    Hibernate A Machine
    ${keys} =    List Bucket    rekindle/manifests/
    Write Object    ${keys}[0]    ${{b'cut short'}}
    Run Keyword And Expect Error
    ...    UNKNOWN: ${keys}[0] in bucket * cannot be read: it is cut short or damaged. It is set aside now, as *
    ...    Find Newest Hibernation    product
    ${found} =    Find Newest Hibernation    product
    Should Be Equal    ${found}    ${None}
    Forget Hibernation    ${hibernation}
    No Hibernation Should Be Kept

A Hibernation Fails
    Break New Machines    no_restic
    ${machine} =    Rent Small Machine
    Run On Machine    ${machine}    echo something >"$1"    ${WORKSPACE}/file
    Hibernate When Idle    ${machine}    after=1s
    Run Keyword And Expect Error
    ...    Waited for machine * to be hibernated: gave up *, because its hibernation failed: restic backup: restic is*
    ...    Wait Until Hibernated    ${machine}    timeout=1 minute
    Run Keyword And Expect Error
    ...    Dumont Cloud should have destroyed machine ${machine.id} * by itself, but * the marketplace still lists it*
    ...    Machine Should Be Gone
    ...    ${machine}
    ...    timeout=1s

A Machine Does Not Fall Asleep In Time
    ${machine} =    Rent Small Machine
    Hibernate When Idle    ${machine}    after=1 hour
    Run Keyword And Expect Error
    ...    Waited for Dumont Cloud to notice that machine * is idle and hibernate it: not so after * s (limit 1 s)*
    ...    Wait Until Hibernation Begins    ${machine}    timeout=1s
    Destroy Machine    ${machine}

A Machine That Is Kept Awake Does Not Fall Asleep
    ${machine} =    Rent Small Machine
    Hibernate When Idle    ${machine}    after=2s
    Keep Machine Awake    ${machine}
    Machine Should Stay Idle    ${machine}    duration=4s
    Run Keyword And Expect Error
    ...    Waited for Dumont Cloud to notice that machine * is idle and hibernate it: not so after *
    ...    Wait Until Hibernation Begins    ${machine}    timeout=1s
    Destroy Machine    ${machine}

A Working Machine Is Not Idle
    ${machine} =    Rent Small Machine
    Machine Should Stay Idle    ${machine}    duration=1s
    Run On Machine    ${machine}    echo 87 >/tmp/gpu-utilisation
    Run Keyword And Expect Error
    ...    Expected the GPU of machine * to stay idle (under 5 %) for 1 s, but after * s saw: 87 %.
    ...    Machine Should Stay Idle    ${machine}    duration=1s


*** Keywords ***
Should Be Set Aside
    [Documentation]    A run that was cut off after the wake has left it in the bucket.
    [Arguments]    ${hibernation}    ${woken}
    ${found} =    Find Newest Hibernation    product
    Should Be Equal    ${found}    ${None}
    ${keys} =    List Bucket    rekindle/set-aside/
    ${reason} =    Read Object    ${keys}[1]
    Should Match
    ...    ${reason.decode()}
    ...    Dumont Cloud woke machine ${hibernation.instance_id} before, as machine ${woken.id}, for a run that *

No Hibernation Should Be Kept
    ${keys} =    List Bucket    rekindle/manifests/
    ${aside} =    List Bucket    rekindle/set-aside/
    Should Be Empty    ${{$keys + $aside}}

Hibernate A Machine
    ${machine} =    Rent Small Machine
    Create Test Files    ${machine}    ${WORKSPACE}    small_files=20    large_bytes=100000
    ${manifest} =    Take Manifest    ${machine}    ${WORKSPACE}
    Hibernate When Idle    ${machine}    after=1s
    ${snapshot} =    Wait Until Hibernated    ${machine}    timeout=1 minute
    Machine Should Be Gone    ${machine}
    Keep Hibernation    product    ${machine}    ${snapshot}    ${manifest}
    ${hibernation} =    Find Newest Hibernation    product
    RETURN    ${hibernation}
