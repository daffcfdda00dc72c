*** Settings ***
Documentation     Is the target fit to be tested? To be run first: it takes seconds and rents one small machine.
...               Plain RequestsLibrary and SSHLibrary keywords: a model for suites of your own.

Library           CredentialsLibrary
Library           ObjectStoreLibrary
Library           ProvisioningLibrary
Library           RequestsLibrary
Library           SnapshotLibrary
Library           SSHLibrary
Resource          ../../resources/target.resource

Suite Setup       Open Fit Target
Suite Teardown    Destroy All Machines And Prove It

Test Tags         smoke


*** Test Cases ***
Dumont API Is Healthy
    ${health} =    GET On Session    dumont    /health    msg=The Dumont API is unfit: /health
    Should Be Equal    ${health.json()}[status]    healthy    The Dumont API is unfit: it does not call itself healthy.
    Should Be Equal    ${health.json()}[service]    dumont-cloud    The Dumont API is unfit: another service answers.

Login Opens With The Right Password Only
    ${email} =    Email Of Account
    VAR    &{wrong} =    email=${email}    password=${{secrets.token_urlsafe(16)}}
    ${refused} =    POST On Session
    ...    dumont
    ...    /api/v1/auth/login
    ...    json=${wrong}
    ...    expected_status=401
    ...    msg=The login is unfit: a wrong password was not refused
    Should Not Be Empty    ${refused.json()}[error]    The login is unfit: it refuses without saying why.
    ${me} =    GET On Session    authorized    /api/v1/auth/me    msg=The login is unfit: the right one does not open
    Should Be True    ${me.json()}[authenticated]    The login is unfit: the token is not accepted.

Errors Come In The Envelope
    ${missing} =    GET On Session
    ...    authorized
    ...    /api/v1/instances/1
    ...    expected_status=404
    ...    msg=The error envelope is unfit: an unknown machine is not a 404
    Should Not Be Empty    ${missing.json()}[error]    The error envelope is unfit: `error` says nothing.

Offers Are Listed
    VAR    &{query} =    num_gpus=1    max_price=${MAX_PRICE}
    ${offers} =    GET On Session
    ...    dumont
    ...    /api/v1/instances/offers
    ...    params=${query}
    ...    msg=The market is unfit: offers cannot be listed
    Should Not Be Empty    ${offers.json()}[offers]    The market is unfit: no GPU is offered under $${MAX_PRICE}/h.
    Should Be Equal As Integers    ${offers.json()}[count]    ${{len($offers.json()['offers'])}}

Bucket Opens With The Right Keys Only
    Bucket Should Open With Its Keys
    Bucket Should Refuse Wrong Keys

Market Opens With Its Key
    Market Should Open With Its Key
    SSH Key Should Be Known To The Market

CPU Cloud Opens With Its Token
    CPU Cloud Should Open With Its Token

Repository Opens With Its Password
    Repository Should Open With Its Password

Page Answers
    Page Should Answer

Machine Opens By SSH With Its Own Host Key
    ${machine} =    Rent Machine    max_price=${MAX_PRICE}    disk_gb=20
    Open SSH Connection    ${machine}
    ${gpu}    ${exit_code} =    Execute Command
    ...    nvidia-smi --query-gpu=name --format=csv,noheader
    ...    return_rc=True
    Should Be Equal As Integers    ${exit_code}    0    The machine is unfit: nvidia-smi does not run on it.
    Should Contain    ${gpu}    ${machine.gpu_name}    The machine is unfit: another GPU than the rented one.
    Host Key Should Be Pinned    ${machine}
    Snapshot Should Be In Repository    ${machine}
    Destroy Machine    ${machine}
    [Teardown]    Delete Left Snapshots


*** Keywords ***
Snapshot Should Be In Repository
    [Documentation]    The product writes to the repository that the suites read.
    [Arguments]    ${machine}
    Execute Command    echo smoke >/workspace/smoke.txt
    ${snapshot} =    Create Snapshot    ${machine}    /workspace    timeout=${SNAPSHOT_TIMEOUT}
    Repository Should Open With Its Password    ${snapshot}
    Delete Snapshot    ${snapshot}

Open Fit Target
    Open The Target
    Open Dumont Session    dumont
    Open Dumont Session    authorized    logged_in=${True}
