*** Settings ***
Documentation     A large model: what a person reads when it does not fit, came back changed, or left something behind.

Resource          keywords.resource

Suite Setup       Share A Small Machine
Suite Teardown    Destroy All Machines And Prove It


*** Test Cases ***
A Model File Comes Back As It Was Written
    ${model} =    Create Model File    ${MACHINE}    ${WORKSPACE}    3
    ${manifest} =    Take Manifest    ${MACHINE}    ${WORKSPACE}
    ${snapshot} =    Create Snapshot    ${MACHINE}    ${WORKSPACE}    expected_bytes=${manifest.bytes}
    Poison Workspace    ${MACHINE}    ${manifest}
    Restore Snapshot    ${MACHINE}    ${snapshot}    ${WORKSPACE}    expected_bytes=${manifest.bytes}
    ${restored} =    Workspace Should Equal Manifest    ${MACHINE}    ${manifest}
    Model File Should Be As Written    ${restored}    ${model}
    [Teardown]    Delete Left Snapshots

A Flipped Byte Is Found
    ${model} =    Create Model File    ${MACHINE}    ${WORKSPACE}    1
    VAR    ${file} =    ${WORKSPACE}/${model.name}
    Run On Machine    ${MACHINE}    printf '\\377\\0' | dd of="$1" bs=1 seek=9 conv=notrunc status=none    ${file}
    ${manifest} =    Take Manifest    ${MACHINE}    ${WORKSPACE}
    Run Keyword And Expect Error
    ...    ${file} is not what was written: its SHA-256 is *, and was ${model.sha256} when it was written.
    ...    Model File Should Be As Written    ${manifest}    ${model}

The Space Of A Deleted Snapshot Is Freed
    ${before} =    List Packs
    ${snapshot}    ${stored} =    Snapshot A Model File
    Should Be True    $stored.packs and not $stored.packs.keys() & $before
    Delete Snapshot    ${snapshot}
    Space Should Be Freed    ${snapshot}    ${stored}

A Pack That Is Left Behind Is Found
    ${snapshot}    ${stored} =    Snapshot A Model File
    VAR    ${pack} =    ${{min($stored.packs)}}
    ${content} =    Read Object    ${pack}
    Delete Snapshot    ${snapshot}
    Write Object    ${pack}    ${content}
    Run Keyword And Expect Error
    ...    Snapshot ${snapshot} was deleted, but 1 pack of the * that it needed, * ${pack} (* bytes)*
    ...    Space Should Be Freed    ${snapshot}    ${stored}
    [Teardown]    Delete Object    ${pack}

A Snapshot That Is Not Deleted Frees Nothing
    ${snapshot}    ${stored} =    Snapshot A Model File
    Run Keyword And Expect Error
    ...    Snapshot ${snapshot} was deleted, but restic/snapshots/${snapshot}* in bucket * is still there: nothing*
    ...    Space Should Be Freed    ${snapshot}    ${stored}
    Delete Left Snapshots
    Space Should Be Freed    ${snapshot}    ${stored}

The Size Is Not A Number
    Run Keyword And Expect Error
    ...    LARGE_FILE_MB must be a number of MB from 0.001 to 900000, such as LARGE_FILE_MB:1024; it is 'a gigabyte'.
    ...    Model File Should Fit Disk    a gigabyte    20

The Size Is Larger Than The Disk
    Run Keyword And Expect Error
    ...    LARGE_FILE_MB:50000 is a file of 52 428 800 000 bytes, which does not fit the disk of DISK_GB:20 that *
    ...    Model File Should Fit Disk    50000    20

The Disk Of The Machine Is Smaller Than Rented
    Break New Machines    small_disk    megabytes=40
    ${small} =    Rent Small Machine
    Run Keyword And Expect Error
    ...    /workspace has * bytes free of 41 943 040, too few for the 58 720 256 bytes that are wanted: nothing was *
    ...    Create Model File    ${small}    ${WORKSPACE}    40
    [Teardown]    Mend Sandbox


*** Keywords ***
Snapshot A Model File
    [Documentation]    Returns the snapshot, and what it needs of the bucket.
    Create Model File    ${MACHINE}    ${WORKSPACE}    3
    ${manifest} =    Take Manifest    ${MACHINE}    ${WORKSPACE}
    ${snapshot} =    Create Snapshot    ${MACHINE}    ${WORKSPACE}
    ${stored} =    Snapshot Should Be Whole In Bucket    ${snapshot}    ${manifest}
    RETURN    ${snapshot}    ${stored}
