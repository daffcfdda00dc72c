*** Settings ***
Documentation    What breaks only when there is much of it: a large model, very many files, failover after failover.
...              On a live target nothing starts without `--variable REAL:True` and a budget for the worst case.

Resource         ../../resources/stress.resource

Suite Setup      Open The Target For Stress
# Robot Framework itself stops at an infinite timeout, before a wrong value can be refused.
Test Timeout     ${{min(float($MACHINE_MINUTES), 1440)}} minutes
