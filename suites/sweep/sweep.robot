*** Settings ***
Documentation    Is anything left over? What runs that are over have left is found, destroyed and proven gone; machines
...              of others and of runs that go on are not touched. It rents nothing: on a live target
...              `--variable BUDGET_USD:0` is enough.

Library          MetricsLibrary
Library          SweepLibrary
Resource         ../../resources/target.resource

Suite Setup      Open The Target
Test Teardown    Publish Report

Test Tags        sweep


*** Test Cases ***
Nothing Is Left Of Runs That Are Over
    [Metadata]    Report    sweep
    GROUP    [1/3] Sweep
        ${swept} =    Sweep Leftovers
    END
    GROUP    [2/3] Bill
        Bill Should Tell Of Nothing Else    ${swept}
    END
    GROUP    [3/3] Sweep again
        Nothing Should Be Left To Sweep
    END
