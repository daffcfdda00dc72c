*** Settings ***
Documentation     The workspace: what a person reads when files cannot be written or read there.

Resource          keywords.resource

Suite Setup       Share A Small Machine
Suite Teardown    Destroy All Machines And Prove It


*** Test Cases ***
A Manifest Holds What Was Created
    Create Test Files    ${MACHINE}    ${WORKSPACE}    small_files=3    large_bytes=1000
    ${manifest} =    Take Manifest    ${MACHINE}    ${WORKSPACE}
    Should Be Equal As Integers    ${manifest.files}    ${{5 + 6 + 3 + 1}}

A Manifest Of A Missing Folder
    Run Keyword And Expect Error
    ...    There is no /nowhere on the machine. Is the path right, and was it created or restored?
    ...    Take Manifest    ${MACHINE}    /nowhere

A Manifest Of A File
    Run Keyword And Expect Error
    ...    /etc/hostname on the machine is not a directory.
    ...    Take Manifest    ${MACHINE}    /etc/hostname

Files For A Missing Folder
    Run Keyword And Expect Error
    ...    There is no directory /nowhere on the machine: nothing was written. Is the path right?
    ...    Create Test Files    ${MACHINE}    /nowhere

A Full Disk
    Break New Machines    small_disk    megabytes=4
    ${small} =    Rent Small Machine
    Run Keyword And Expect Error
    ...    No space left on device: /workspace has * bytes free of 4 194 304. Rent a machine with a larger disk, or*
    ...    Create Test Files    ${small}    ${WORKSPACE}    large_bytes=8000000
    [Teardown]    Mend Sandbox

A Script That Fails
    Run Keyword And Expect Error
    ...    On *.${MACHINE.id} (root@127.0.0.1:*), `*` ended with exit code 3: no such luck
    ...    Run On Machine    ${MACHINE}    echo "no such $1" >&2; exit 3    luck

A Machine That Is Gone
    ${gone} =    Rent Small Machine
    Destroy Machine    ${gone}
    Run Keyword And Expect Error
    ...    SSH to *.${gone.id} (root@127.0.0.1:*) was refused: *Connection refused*
    ...    Take Manifest    ${gone}    ${WORKSPACE}
