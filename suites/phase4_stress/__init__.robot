*** Settings ***
Documentation    What breaks only when there is much of it: a large model, very many files, failover after failover.
...              On a live target nothing starts without `--variable REAL:True` and a budget for the worst case.

Resource         ../../resources/stress.resource

Suite Setup      Open The Target For Stress
Test Timeout     ${MACHINE_MINUTES} minutes
