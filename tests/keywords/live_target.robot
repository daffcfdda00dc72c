*** Settings ***
Documentation    A live target: what a person reads when what they gave is missing or wrong. Nothing is rented.

Resource         keywords.resource

Suite Setup      Close Target
Test Teardown    Close Target


*** Test Cases ***
Everything Is Right
    Open Sandbox As Live    budget_usd=${1}
    Bucket Should Open With Its Keys

Variables Are Missing
    Opening Should Fail
    ...    Missing in the environment and in .env:*DUMONT_EMAIL *the e-mail of *B2_BUCKET *For the embedded cloud,*
    ...    DUMONT_EMAIL=${EMPTY}
    ...    B2_BUCKET=${EMPTY}

The Market's Key Is Missing
    Opening Should Fail
    ...    Missing in the environment and in .env:*VAST_API_KEY *the API key of the market's account*
    ...    VAST_API_KEY=${EMPTY}

The Market Is Declined
    Open Sandbox As Live    budget_usd=${1}    declined=market    VAST_API_KEY=${EMPTY}

There Is No Such Witness
    Opening Should Fail
    ...    DECLINED_WITNESSES must be empty, or any of market, restic, gcp with commas between them, * 'market, sun'.
    ...    declined=market, sun

There Is No Budget
    Opening Should Fail
    ...    BUDGET_USD is not set, so nothing that costs money is started. Say how much * --variable BUDGET_USD:3
    ...    budget_usd=${None}

The Budget Is No Money
    Opening Should Fail
    ...    BUDGET_USD must be a number of USD from 0 to 10000, such as BUDGET_USD:3; it is -1.0.
    ...    budget_usd=${-1}

The Password Is Wrong
    Opening Should Fail
    ...    Dumont API at * refused the login of *: Invalid email or password. Check DUMONT_EMAIL and DUMONT_PASSWORD.
    ...    DUMONT_PASSWORD=wrong

Nobody Answers
    Opening Should Fail
    ...    Dumont API at http://127.0.0.1:9 is not reachable: connection refused. Is it running? Is DUMONT_API_URL its*
    ...    DUMONT_API_URL=http://127.0.0.1:9

The Keys Of The Bucket Are Wrong
    Open Sandbox As Live    budget_usd=${1}    B2_APPLICATION_KEY=wrong
    Run Keyword And Expect Error
    ...    UNKNOWN: The object store at * refused our keys for bucket * (SignatureDoesNotMatch): check B2_KEY_ID and B2*
    ...    Bucket Should Open With Its Keys

The Bucket Is Missing
    Open Sandbox As Live    budget_usd=${1}    B2_BUCKET=nothing-here
    Run Keyword And Expect Error
    ...    UNKNOWN: The object store at * refused our keys for bucket nothing-here (AccessDenied): check B2_BUCKET, B2*
    ...    Bucket Should Open With Its Keys

The Repository Is In Another Bucket
    Open Sandbox As Live    budget_usd=${1}    RESTIC_REPOSITORY=s3:http://127.0.0.1/another/restic
    Run Keyword And Expect Error
    ...    RESTIC_REPOSITORY must be s3:https://<endpoint>/dumontcloud-snapshots/<folder>, in the bucket that B2_BUCKET*
    ...    List Packs

A Live Target Has No Switches
    Open Sandbox As Live    budget_usd=${1}
    Run Keyword And Expect Error
    ...    A live target has no switches: only the embedded cloud (TARGET:sandbox) can be broken.
    ...    Stop Sandbox

A Live Target Has No State Directory
    Run Keyword And Expect Error
    ...    STATE_DIR (temporary) is a directory of the embedded cloud: it goes with TARGET:sandbox only.
    ...    Open Target    live    budget_usd=${1}    state_dir=temporary

Another Target Is Open
    Open Sandbox As Live    budget_usd=${1}
    Run Keyword And Expect Error
    ...    The target live (BUDGET_USD 1.0) is open, * before the target sandbox (BUDGET_USD 5.0, STATE_DIR temporary)*
    ...    Open Own Cloud

There Is No Such Target
    VAR    ${kind} =    moon
    Run Keyword And Expect Error
    ...    TARGET must be sandbox or live, such as TARGET:live; it is 'moon'.
    ...    Open Target    ${kind}

No Target Is Open
    Run Keyword And Expect Error
    ...    No target is open. Begin the suite with `Suite Setup * Open Target *`.
    ...    Rent Small Machine


*** Keywords ***
Open Sandbox As Live
    [Arguments]    &{options}
    Open Sandbox As Live Target    state_dir=temporary    &{options}

Opening Should Fail
    [Arguments]    ${words}    ${budget_usd}=${1}    &{variables}
    Run Keyword And Expect Error
    ...    ${words}
    ...    Open Sandbox As Live    budget_usd=${budget_usd}    &{variables}
