"""The edge node. It receives series by DICOM, finds microbleeds, and sends SEG and SR back.

Three rules prevent loss. The node acknowledges an image only when its file is whole and synced in
the spool. It runs a study whenever the files of its folder differ from those of its last result. It
repeats a result until every destination has committed to keep it. Each step can be interrupted and
repeated, because the same images give the same result objects.

Research use only.
"""
