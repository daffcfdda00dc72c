*** Settings ***
Documentation     What the keywords do on the embedded cloud, and the exact words with which they fail.

Resource          ../../resources/target.resource

Suite Setup       Open Target    sandbox    budget_usd=${BUDGET_USD}
Suite Teardown    Close Target

Test Timeout      5 minutes
