*** Settings ***
Documentation     The bucket: a snapshot is whole in it, or the object that is missing or wrong is named.

Resource          keywords.resource

Suite Setup       Share A Pack
Suite Teardown    Forget Shared Hibernation
Test Teardown     Write Object    ${PACK}    ${CONTENT}


*** Test Cases ***
A Snapshot Is Whole In The Bucket
    Snapshot Should Be Whole In Bucket    ${HIBERNATION.snapshot_id}    ${HIBERNATION.manifest}

An Object Is Deleted
    Delete Object    ${PACK}
    Audit Should Find    is missing*

A Byte Of An Object Is Wrong
    VAR    ${wrong} =    ${{$CONTENT[:-1] + bytes([$CONTENT[-1] ^ 1])}}
    Write Object    ${PACK}    ${wrong}
    Audit Should Find    hashes to *, not to its name.

An Object Is Cut Short
    VAR    ${cut} =    ${{$CONTENT[:-1]}}
    Write Object    ${PACK}    ${cut}
    Audit Should Find    is 1 byte short: * bytes seen, * expected.

The Workspace Was Another One
    Run On Machine    ${MACHINE}    echo later >"$1"    ${WORKSPACE}/later
    ${manifest} =    Take Manifest    ${MACHINE}    ${WORKSPACE}
    Run Keyword And Expect Error
    ...    Snapshot * would restore another workspace: it differs *: 1 missing of 33 files *: missing later.
    ...    Snapshot Should Be Whole In Bucket    ${HIBERNATION.snapshot_id}    ${manifest}

The Snapshot Is Unknown
    Run Keyword And Expect Error
    ...    Snapshot 0badc0de cannot be restored: it is not in the repository restic in bucket *: it holds * snapshot*
    ...    Snapshot Should Be Whole In Bucket    0badc0de    ${HIBERNATION.manifest}

An Object Is Unknown
    Run Keyword And Expect Error
    ...    Object nowhere/at-all in bucket dumontcloud-snapshots is missing.
    ...    Read Object    nowhere/at-all

A Kept Manifest Was Changed
    ${kept} =    List Bucket    rekindle/manifests/
    ${content} =    Read Object    ${kept}[-1]
    VAR    ${changed} =    ${{$content.replace(b'"size": 100000', b'"size": 100001')}}
    Write Object    ${kept}[-1]    ${changed}
    Run Keyword And Expect Error
    ...    UNKNOWN: *manifest* was changed after it was written: *
    ...    Find Newest Hibernation    steps
    [Teardown]    Write Object    ${kept}[-1]    ${content}

The Bucket Opens With The Right Keys Only
    Bucket Should Open With Its Keys
    Bucket Should Refuse Wrong Keys


*** Keywords ***
Share A Pack
    [Documentation]    Sets `${PACK}`, with content of files that only the hibernation needs, and its `${CONTENT}`.
    Open Own Cloud
    ${before} =    List Bucket    restic/data/
    Share A Hibernation
    ${after} =    List Bucket    restic/data/
    VAR    ${CONTENT} =    ${{b''}}    scope=SUITE    # robocop: off=VAR05
    # The larger pack holds content of files, the other one the lists of them.
    FOR    ${key}    IN    @{{set($after) - set($before)}}
        ${candidate} =    Read Object    ${key}
        IF    len($candidate) > len($CONTENT)
            VAR    ${PACK} =    ${key}    scope=SUITE    # robocop: off=VAR05
            VAR    ${CONTENT} =    ${candidate}    scope=SUITE    # robocop: off=VAR05
        END
    END

Audit Should Find
    [Arguments]    ${words}
    Run Keyword And Expect Error
    ...    Snapshot ${HIBERNATION.snapshot_id} cannot be restored: * affected (*). Object ${PACK} in bucket * ${words}
    ...    Snapshot Should Be Whole In Bucket    ${HIBERNATION.snapshot_id}    ${HIBERNATION.manifest}
