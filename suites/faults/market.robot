*** Settings ***
Documentation     The market has nothing, refuses, or gives machines that never come: that is weather, and told as such.

Resource          ../../resources/faults.resource

Suite Setup       Open A Cloud To Be Broken
Suite Teardown    Destroy All Machines And Prove It
Test Teardown     Mend And Publish Report


*** Variables ***
# How long a machine may take that never comes.
${NEVER_READY}    2s


*** Test Cases ***
Nothing Is Offered
    [Metadata]    Report    faults_no_offers
    GROUP    [1/3] Nothing is offered
        Let Market Offer Nothing
        Should Fail As Weather    No GPU offers available under $1.00/h with 20 GB of disk. Wait*    Rent GPU Machine
        Market Should Have    0
    END
    GROUP    [2/3] Offers are back
        Mend Sandbox
        ${machine} =    Rent GPU Machine
    END
    GROUP    [3/3] Destroy
        Destroy To The Last    ${machine}
    END

Rate Limit Is Ridden Out
    [Metadata]    Report    faults_rate_limit
    GROUP    [1/2] Provision under a rate limit
        Let Market Refuse    ^PUT /api/v0/asks/    429    times=2
        ${machine} =    Rent GPU Machine
        Market Should Have    1
        Faults Should Have Struck
    END
    GROUP    [2/2] Destroy
        Let Market Refuse    ^DELETE /api/v0/instances/    429    times=2
        Destroy To The Last    ${machine}
        Faults Should Have Struck
    END

Rate Limit Goes On
    [Metadata]    Report    faults_rate_limit_goes_on
    GROUP    [1/2] Rate limit of the market
        Let Market Refuse    ^PUT /api/v0/asks/    429    retry_after=0s
        Should Fail As Weather
        ...    rate limited: Dumont API refused POST /api/v1/instances with 429 after 4 tries: Renting offer * failed 4*
        ...    Rent GPU Machine
        Market Should Have    0
    END
    GROUP    [2/2] Rate limit of Dumont Cloud
        Let Product Refuse    ^GET /api/v1/instances/offers    429    retry_after=0s
        Should Fail As Weather
        ...    rate limited: Dumont API refused GET /api/v1/instances/offers with 429 after 4 tries: too many requests*
        ...    Rent GPU Machine
        Market Should Have    0
    END

Overload Is Ridden Out
    [Documentation]    A market that answers 503 may have rented all the same: never are there two.
    [Metadata]    Report    faults_overload
    GROUP    [1/2] Provision under overload
        Let Market Refuse    ^PUT /api/v0/asks/    503    times=2
        ${machine} =    Rent GPU Machine
        Market Should Have    1
        Faults Should Have Struck
    END
    GROUP    [2/2] Destroy
        Let Market Refuse    ^DELETE /api/v0/instances/    500    times=2
        Destroy To The Last    ${machine}
        Faults Should Have Struck
    END

Overload Goes On
    [Metadata]    Report    faults_overload_goes_on
    [Tags]    long
    GROUP    [1/2] Overload at the rent
        Let Market Refuse    ^PUT /api/v0/asks/    503
        Should Fail As Weather
        ...    It is not known whether a machine was rented (label *): Dumont API refused * with 503: * none was rented.
        ...    Rent GPU Machine
        Market Should Have    0
    END
    GROUP    [2/2] Overload at the search
        Let Market Refuse    /api/v0/(bundles|search)    503
        Should Fail As Weather
        ...    The market cannot be searched: Dumont API refused GET /api/v1/instances/offers with 503 after 4 tries: *
        ...    Rent GPU Machine
        Market Should Have    0
    END

Machine Never Boots
    [Metadata]    Report    faults_boot_hangs
    GROUP    [1/1] Boot hangs
        Break New Machines    boot_hangs
        Should Fail As Weather
        ...    Instance not ready after * s: machine * stayed `loading`. It was destroyed, and was proven gone * later.*
        ...    Rent Machine
        ...    max_price=${MAX_PRICE}
        ...    disk_gb=${DISK_GB}
        ...    ready_timeout=${NEVER_READY}
        Market Should Have    0
    END

Machine Refuses SSH
    [Metadata]    Report    faults_ssh_refused
    GROUP    [1/1] SSH is refused
        Break New Machines    ssh_refused
        Should Fail As Weather
        ...    SSH connection refused: machine * is `running`, but after * It was destroyed, and was proven gone *
        ...    Rent Machine
        ...    max_price=${MAX_PRICE}
        ...    disk_gb=${DISK_GB}
        ...    ready_timeout=${NEVER_READY}
        Market Should Have    0
    END
