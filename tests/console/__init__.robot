*** Settings ***
Documentation     What a person sees and does on the page, and whether it is true.

Resource          console.resource

Suite Setup       Open The Console
Suite Teardown    Close The Console
Test Timeout      2 minutes
