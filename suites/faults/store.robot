*** Settings ***
Documentation     The store goes away or refuses: no snapshot is called whole that is not, and no machine pays for it.

Resource          ../../resources/faults.resource

Suite Setup       Open A Cloud To Be Broken
Suite Teardown    Destroy All Machines And Prove It
Test Teardown     Mend And Publish Report


*** Test Cases ***
Store Is Away For A Moment
    [Documentation]    In the middle of a snapshot, and again in the middle of its restore.
    [Metadata]    Report    faults_store_away_for_a_moment
    GROUP    [1/4] Provision
        ${machine}    ${manifest} =    Rent Filled Machine
        Make Way To Store Narrow
    END
    GROUP    [2/4] Snapshot
        Cut Way During    snapshot    product-store    ${machine}    back_after=500ms
        ${snapshot} =    Take Proven Snapshot    ${machine}    ${manifest}
        Faults Should Have Struck
    END
    GROUP    [3/4] Restore
        Restore While Store Is Away For A Moment    ${machine}    ${snapshot}    ${manifest}
        Machine Should Be Unharmed    ${machine}    ${manifest}
    END
    GROUP    [4/4] Destroy
        Destroy To The Last    ${machine}
    END

Snapshot Fails
    [Documentation]    The bucket refuses to be written. The machine and its files survive, and later all is well.
    [Metadata]    Report    faults_snapshot_fails
    GROUP    [1/4] Provision
        ${machine}    ${manifest} =    Rent Filled Machine
    END
    GROUP    [2/4] Failing snapshot
        Make Bucket Read Only
        Should Be Told
        ...    Dumont API refused POST /api/v1/snapshots with 500: restic on instance *: Access Denied.
        ...    Create Snapshot    ${machine}    ${WORKSPACE}
        Machine Should Be Unharmed    ${machine}    ${manifest}
    END
    GROUP    [3/4] Snapshot
        Mend Sandbox
        Take Proven Snapshot    ${machine}    ${manifest}
    END
    GROUP    [4/4] Destroy
        Destroy To The Last    ${machine}
    END

Hibernation Fails
    [Documentation]    A machine is destroyed for its snapshot only: without one it stays, however idle it is.
    [Metadata]    Report    faults_hibernation_fails
    GROUP    [1/3] Provision
        ${machine}    ${manifest} =    Rent Filled Machine
    END
    GROUP    [2/3] Failing hibernation
        Make Bucket Read Only
        Hibernate When Idle    ${machine}    after=1s
        Should Be Told
        ...    Waited for machine * to be hibernated: gave up * because its hibernation failed: *Access Denied.*
        ...    Wait Until Hibernated    ${machine}    timeout=${HIBERNATION_TIMEOUT}
        Machine Should Be Unharmed    ${machine}    ${manifest}
    END
    GROUP    [3/3] Destroy
        Mend Sandbox
        Destroy To The Last    ${machine}
    END

Store Stays Away
    [Documentation]    As long as the product waits for it. What was being restored has not replaced anything by half.
    [Metadata]    Report    faults_store_stays_away
    [Tags]    long
    GROUP    [1/4] Provision
        ${machine}    ${snapshot}    ${manifest} =    Rent Machine That Has Changed Since Its Snapshot
        Make Way To Store Narrow
    END
    GROUP    [2/4] Failing restore
        Cut Way During    restore    product-store    ${machine}
        Should Be Told
        ...    Dumont API refused POST /api/v1/snapshots/restore with 503: The object store does not answer: *
        ...    Restore Snapshot    ${machine}    ${snapshot}    ${WORKSPACE}
        Machine Should Be Unharmed    ${machine}    ${manifest}
    END
    GROUP    [3/4] Snapshot
        Mend Sandbox
        Take Proven Snapshot    ${machine}    ${manifest}
    END
    GROUP    [4/4] Destroy
        Destroy To The Last    ${machine}
    END


*** Keywords ***
Restore While Store Is Away For A Moment
    [Arguments]    ${machine}    ${snapshot}    ${manifest}
    Poison Workspace    ${machine}    ${manifest}
    Cut Way During    restore    product-store    ${machine}    back_after=500ms
    Restore Snapshot    ${machine}    ${snapshot}    ${WORKSPACE}
    Faults Should Have Struck

Rent Machine That Has Changed Since Its Snapshot
    ${machine}    ${manifest} =    Rent Filled Machine
    ${snapshot} =    Take Proven Snapshot    ${machine}    ${manifest}
    Change Files    ${machine}    ${WORKSPACE}    later
    ${later} =    Take Manifest    ${machine}    ${WORKSPACE}
    RETURN    ${machine}    ${snapshot}    ${later}

Make Way To Store Narrow
    [Documentation]    So narrow that there is a middle of the work.
    Add Toxic    product-store    bandwidth    upstream    rate=3000
    Add Toxic    product-store    bandwidth    downstream    rate=3000
