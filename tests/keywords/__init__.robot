*** Settings ***
Documentation     What the keywords do on the embedded cloud, and the exact words with which they fail.

Resource          keywords.resource

Suite Setup       Open Own Cloud
Suite Teardown    Close Target
Test Timeout      2 minutes
