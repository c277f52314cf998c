"""The node: receives series by DICOM, finds microbleeds, sends SEG and SR back into the study.

Why nothing is lost: an image is acknowledged only when its file is whole and synced in the spool;
a study is run whenever the files of its folder differ from those its last result was made of; a
result is repeated until every destination has committed to keep it. Each step can be interrupted
and done again, because the same images give the same result objects.

Research use only.
"""
