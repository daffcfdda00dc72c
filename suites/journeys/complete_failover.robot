*** Settings ***
Documentation     A person's journey through the web page, with a failover in the middle of it. The page is believed by
...               nobody until API, market, machines and bytes agree.

Resource          ../../resources/pages/console_journey.resource

Suite Setup       Open The Page For A Journey
Suite Teardown    Close The Page And Prove That All Is Gone
Test Teardown     Publish Journey

Test Tags         journey    failover    browser


*** Test Cases ***
Machine Is Created, Protected, Lost, Saved And Restored On The Page
    [Metadata]    Report    failover_complete_system
    GROUP    [1/10] Login
        Log In
    END
    GROUP    [2/10] Machines page
        Look At Existing Machines
    END
    GROUP    [3/10] Create GPU
        ${machine} =    Create Filled Machine In Wizard
    END
    GROUP    [4/10] Enable standby
        ${standby} =    Protect Machine By Switch    ${machine}
    END
    GROUP    [5/10] Verify sync
        ${manifest} =    Standby Should Be In Step    ${standby}
    END
    GROUP    [6/10] Manual failover
        ${new} =    Fail Over By Click    ${machine}    ${manifest}
    END
    GROUP    [7/10] Create snapshot
        ${snapshot}    ${manifest} =    Take Snapshot By Click    ${new}
    END
    GROUP    [8/10] Destroy and restore
        ${restored} =    Restore Snapshot By Click    ${new}    ${standby}    ${snapshot}    ${manifest}
    END
    GROUP    [9/10] Migration dialog
        Look At Migration Without Migrating    ${restored}
    END
    GROUP    [10/10] Clean up
        Leave Nothing    ${restored}    ${snapshot}
    END
