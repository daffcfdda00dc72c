*** Settings ***
Documentation     Clouds break. The product rides it out, or fails and says so; nothing is lost, and nothing is left.
...               These suites break the embedded cloud, and run on no other.

Resource          ../../resources/faults.resource

Suite Setup       Open A Cloud To Be Broken
Suite Teardown    Close Target
Test Timeout      3 minutes

Test Tags         faults
