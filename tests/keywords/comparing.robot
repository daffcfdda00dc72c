*** Settings ***
Documentation     What a comparison finds when a restore went wrong, however little.

Library           OperatingSystem
Library           MetricsLibrary
Resource          keywords.resource

Suite Setup       Share A Hibernation
Suite Teardown    Forget Shared Hibernation
Test Teardown     Restore Snapshot    ${MACHINE}    ${HIBERNATION.snapshot_id}    ${WORKSPACE}


*** Variables ***
${FILE}    ${WORKSPACE}/auto-hibernation-test-3.txt


*** Test Cases ***
What Was Restored Equals Its Manifest
    Poison Workspace    ${MACHINE}    ${HIBERNATION.manifest}
    Restore Snapshot    ${MACHINE}    ${HIBERNATION.snapshot_id}    ${WORKSPACE}
    Workspace Should Equal Manifest    ${MACHINE}    ${HIBERNATION.manifest}

A Restore That Did Nothing Is Found
    [Documentation]    All files are there, with their sizes and times, and hold other bytes.
    Poison Workspace    ${MACHINE}    ${HIBERNATION.manifest}
    Comparison Should Find    34 changed    changed .auto-hibernation-test (sha256 * expected, * seen; mode*

A Flipped Byte Is Found
    [Documentation]    The same size, the same time of change: the content alone tells.
    Run On Machine    ${MACHINE}    touch -r "$1" /tmp/time    ${FILE}
    Run On Machine    ${MACHINE}    printf '\\377' | dd of="$1" bs=1 seek=9 conv=notrunc status=none    ${FILE}
    Run On Machine    ${MACHINE}    touch -r /tmp/time "$1"    ${FILE}
    Comparison Should Find    1 changed    changed auto-hibernation-test-3.txt (sha256 * expected, * seen).

A Lost Owner Is Found
    Skip Without Root On Machine
    Run On Machine    ${MACHINE}    chown 7:8 "$1"    ${FILE}
    Comparison Should Find    1 changed    changed auto-hibernation-test-3.txt (owner *:* expected, 7:8 seen).

Owners Are Not Witnessed Without Root On The Machine
    [Documentation]    All files have one owner there, whatever a restore does.
    [Metadata]    Report    owners
    Skip With Root On Machine
    Workspace Should Equal Manifest    ${MACHINE}    ${HIBERNATION.manifest}
    ${path} =    Publish Report
    ${report} =    Get File    ${path}
    Should Match
    ...    ${report}
    ...    *"owners: every entry belongs to *:*, so a copy that loses owners looks the same; only*

A Removed File Is Found
    Run On Machine    ${MACHINE}    rm -- "$1"    ${FILE}
    Comparison Should Find    1 missing    missing auto-hibernation-test-3.txt.

An Extra File Is Found
    Run On Machine    ${MACHINE}    touch -- "$1"    ${WORKSPACE}/nobody asked for this
    Comparison Should Find    1 extra    extra nobody asked for this.
    [Teardown]    Run On Machine    ${MACHINE}    rm -- "$1"    ${WORKSPACE}/nobody asked for this


*** Keywords ***
Skip Without Root On Machine
    ${user} =    Run On Machine    ${MACHINE}    id -u
    Skip If    $user != '0'    Only root can create files of other users, and the machine's user is number ${user}.

Skip With Root On Machine
    ${user} =    Run On Machine    ${MACHINE}    id -u
    Skip If    $user == '0'    The machine's user is root.

Comparison Should Find
    [Arguments]    ${differences}    ${words}
    Run Keyword And Expect Error
    ...    Restored workspace differs from the manifest: ${differences} of 32 files (* bytes), *: ${words}
    ...    Workspace Should Equal Manifest    ${MACHINE}    ${HIBERNATION.manifest}
