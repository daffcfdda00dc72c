*** Settings ***
Documentation     Does the cloud hibernate and wake without losing a byte, a machine or a dollar?

Resource          ../resources/target.resource

Suite Setup       Open The Target
Suite Teardown    Close Target
Test Timeout      30 minutes

Name              Rekindle
