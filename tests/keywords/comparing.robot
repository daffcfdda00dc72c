*** Settings ***
Documentation     What a comparison finds when a restore went wrong, however little.

Resource          keywords.resource

Suite Setup       Share A Hibernation
Suite Teardown    Destroy All Machines And Prove It
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
    Comparison Should Find    34 changed    changed .auto-hibernation-test (sha256 * expected, * seen; mode*; owner*

A Flipped Byte Is Found
    [Documentation]    The same size, the same time of change: the content alone tells.
    Run On Machine    ${MACHINE}    touch -r "$1" /tmp/time    ${FILE}
    Run On Machine    ${MACHINE}    printf '\\377' | dd of="$1" bs=1 seek=9 conv=notrunc status=none    ${FILE}
    Run On Machine    ${MACHINE}    touch -r /tmp/time "$1"    ${FILE}
    Comparison Should Find    1 changed    changed auto-hibernation-test-3.txt (sha256 * expected, * seen).

A Removed File Is Found
    Run On Machine    ${MACHINE}    rm -- "$1"    ${FILE}
    Comparison Should Find    1 missing    missing auto-hibernation-test-3.txt.

An Extra File Is Found
    Run On Machine    ${MACHINE}    touch -- "$1"    ${WORKSPACE}/nobody asked for this
    Comparison Should Find    1 extra    extra nobody asked for this.
    [Teardown]    Run On Machine    ${MACHINE}    rm -- "$1"    ${WORKSPACE}/nobody asked for this


*** Keywords ***
Comparison Should Find
    [Arguments]    ${differences}    ${words}
    Run Keyword And Expect Error
    ...    Restored workspace differs from the manifest: ${differences} of 32 files (* bytes), *: ${words}
    ...    Workspace Should Equal Manifest    ${MACHINE}    ${HIBERNATION.manifest}
