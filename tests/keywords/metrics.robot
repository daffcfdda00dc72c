*** Settings ***
Documentation    Steps are timed, and what was found out is published.

Library          OperatingSystem
Library          MetricsLibrary


*** Test Cases ***
Steps Are Summed Up
    GROUP    [1/2] Write files
        No Operation
    END
    GROUP    [2/2] Read them
        No Operation
    END
    ${seconds} =    Sum Of Steps    write_files    read_them
    Should Be True    $seconds >= 0

A Step That Has Not Run Has No Seconds
    Run Keyword And Expect Error
    ...    UNKNOWN: The seconds of write_files cannot be summed up: steps that have ended in this test are none.
    ...    Sum Of Steps    write_files

A Report Is Published
    [Metadata]    Report    upload
    Record Metric    upload_mbps    12.5
    ${path} =    Publish Report
    File Should Exist    ${OUTPUT_DIR}/upload_report_*.json
    ${report} =    Get File    ${path}
    Should Contain    ${report}    "upload_mbps": 12.5
