*** Settings ***
Documentation     A machine fails over again and again, and every time all of its files are on the next one.

Resource          ../../resources/multiple_failovers.resource

Suite Setup       Open The Target For Stress
Suite Teardown    Destroy All Machines And Prove It
Test Teardown     Publish Report And Leave Nothing

Test Tags         phase4    stress


*** Test Cases ***
Machine Fails Over Again And Again
    [Documentation]    Each cycle changes files first, so that no older snapshot can pass for the newest.
    [Metadata]    Report    multiple_failovers
    [Metadata]    Rents    ${{int($CYCLES) + 1}} machines for 10 minutes
    GROUP    [1/4] First machine
        ${machine} =    Rent GPU Machine
        Fill Workspace    ${machine}
    END
    GROUP    [2/4] Failovers
        ${machine} =    Repeat Failover
        ...    ${CYCLES}
        ...    Fail Over To Another Machine
        ...    ${machine}
        ...    after_failed_cycle=${AFTER_FAILED_CYCLE}
    END
    GROUP    [3/4] Verify
        All Failovers Should Have Succeeded
    END
    GROUP    [4/4] Clean up
        Destroy Machine    ${machine}    timeout=${GONE_TIMEOUT}
        Delete Left Snapshots
    END
