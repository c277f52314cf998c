"""The same series as one enhanced multi-frame MR file, frames out of positional order."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedMRImageStorage

from cmbnet.phantom.dicom_headers import ScanHeader, decimal, item
from cmbnet.phantom.dicom_vendors import SeriesStyle

Image = tuple[SeriesStyle, NDArray[np.float32], NDArray[np.float64]]
"""Style, stored values (z, y, x), affine from index (z, y, x, 1) to LPS+ mm."""

_CLASSIC_ONLY = (
    "ScanningSequence", "SequenceVariant", "ScanOptions", "RepetitionTime", "EchoTime",
    "EchoTrainLength", "FlipAngle", "AcquisitionDate", "AcquisitionTime",
)  # fmt: skip
_STACK_ID, _IN_STACK_POSITION, _FRAME_CONTENT = 0x00209056, 0x00209057, 0x00209111


def enhance(header: Dataset, images: list[Image], scan: ScanHeader) -> Dataset:
    """Make one dataset with a frame for each slice of every image.

    Frames go odd slices first, then even ones: an interleaved order as real files have, so that
    a reader that trusts frame numbers is found out.
    """
    dataset = Dataset()
    dataset.update(header)
    for keyword in _CLASSIC_ONLY:
        del dataset[keyword]
    style, first, _ = images[0]
    dataset.SOPClassUID = EnhancedMRImageStorage
    dataset.ImageType = style.frame_type.split("\\")
    dataset.NumberOfFrames = sum(len(data) for _, data, _ in images)
    dataset.Rows, dataset.Columns = first.shape[1:]
    if style.derived:
        del dataset.MRAcquisitionType
    _image_level(dataset, style, scan)
    dataset.SharedFunctionalGroupsSequence = [_shared(images[0], scan)]
    frames = [
        (stack, image, z)
        for stack, image in enumerate(images, start=1)
        for z in (*range(1, len(image[1]), 2), *range(0, len(image[1]), 2))
    ]
    dataset.PerFrameFunctionalGroupsSequence = [
        _per_frame(image, z, stack, scan) for stack, image, z in frames
    ]
    dataset.PixelData = b"".join(image[1][z].astype("<u2").tobytes() for _, image, z in frames)
    dataset["PixelData"].VR = "OW"
    return dataset


def _image_level(dataset: Dataset, style: SeriesStyle, scan: ScanHeader) -> None:
    """Modules that enhanced MR demands of the file as a whole."""
    uid = f"{dataset.StudyInstanceUID}.2"
    dataset.update(
        item(
            **_kind(style),
            **({} if style.derived else _pulse_sequence(scan)),
            ApplicableSafetyStandardAgency="IEC", ContentQualification="RESEARCH",
            BurnedInAnnotation="NO", LossyImageCompression="00", PresentationLUTShape="IDENTITY",
            AcquisitionContextSequence=[],
            DimensionOrganizationSequence=[item(DimensionOrganizationUID=uid)],
            DimensionIndexSequence=[
                item(
                    DimensionOrganizationUID=uid, DimensionIndexPointer=pointer,
                    FunctionalGroupPointer=_FRAME_CONTENT,
                )
                for pointer in (_STACK_ID, _IN_STACK_POSITION)
            ],
        )
    )  # fmt: skip


def _pulse_sequence(scan: ScanHeader) -> dict[str, Any]:
    """The module that images straight from the scanner have, and derived ones may not."""
    return {
        "PulseSequenceName": "swi3d", "EchoPulseSequence": "GRADIENT",
        "MultiPlanarExcitation": "NO", "PhaseContrast": "NO", "TimeOfFlightContrast": "NO",
        "SteadyStatePulseSequence": "NONE", "EchoPlanarPulseSequence": "NO",
        "SaturationRecovery": "NO", "SpectrallySelectedSuppression": "NONE",
        "OversamplingPhase": "NONE", "GeometryOfKSpaceTraversal": "RECTILINEAR",
        "RectilinearPhaseEncodeReordering": "LINEAR", "SegmentedKSpaceTraversal": "SINGLE",
        "CoverageOfKSpace": "FULL", "NumberOfKSpaceTrajectories": 1,
        "AcquisitionDateTime": f"{scan.date}{scan.time}", "AcquisitionDuration": 300.0,
        "ResonantNucleus": "1H", "KSpaceFiltering": "NONE",
    }  # fmt: skip


def _kind(style: SeriesStyle) -> dict[str, str]:
    return {
        "PixelPresentation": "MONOCHROME",
        "VolumetricProperties": "VOLUME",
        "VolumeBasedCalculationTechnique": "NONE",
        "ComplexImageComponent": style.component,
        "AcquisitionContrast": "T2_STAR",
    }


def _shared(image: Image, scan: ScanHeader) -> Dataset:
    _, _, affine = image
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    cosines = [decimal(value) for axis in (2, 1) for value in affine[:3, axis] / steps[axis]]
    brain = item(CodeValue="12738006", CodingSchemeDesignator="SCT", CodeMeaning="Brain")
    return item(
        PixelMeasuresSequence=[item(
            PixelSpacing=[decimal(steps[1]), decimal(steps[2])],
            SliceThickness=decimal(steps[0]), SpacingBetweenSlices=decimal(steps[0]),
        )],
        PlaneOrientationSequence=[item(ImageOrientationPatient=cosines)],
        FrameAnatomySequence=[item(FrameLaterality="B", AnatomicRegionSequence=[brain])],
        MRTimingAndRelatedParametersSequence=[_timing(scan)],
        **({} if image[0].derived else _acquisition(image[1].shape)),
    )  # fmt: skip


def _timing(scan: ScanHeader) -> Dataset:
    return item(
        RepetitionTime=decimal(scan.repetition_ms), FlipAngle=decimal(scan.flip_degrees),
        EchoTrainLength=1, RFEchoTrainLength=1, GradientEchoTrainLength=1,
        SpecificAbsorptionRateSequence=[
            item(SpecificAbsorptionRateDefinition="IEC_HEAD", SpecificAbsorptionRateValue=0.1)
        ],
        OperatingModeSequence=[item(OperatingModeType="STATIC FIELD", OperatingMode="IEC_NORMAL")],
    )  # fmt: skip


def _acquisition(shape: tuple[int, ...]) -> dict[str, list[Dataset]]:
    """Macros that are demanded of every enhanced MR file, with values of no consequence."""
    element = item(MultiCoilElementName="HEAD", MultiCoilElementUsed="YES")
    return {
        "MRFOVGeometrySequence": [item(
            InPlanePhaseEncodingDirection="ROW",
            MRAcquisitionFrequencyEncodingSteps=shape[1],
            MRAcquisitionPhaseEncodingStepsInPlane=shape[2],
            MRAcquisitionPhaseEncodingStepsOutOfPlane=shape[0],
            PercentSampling="100", PercentPhaseFieldOfView="100",
        )],
        "MRModifierSequence": [item(
            InversionRecovery="NO", FlowCompensation="ACCELERATION",
            FlowCompensationDirection="FREQUENCY", Spoiling="RF", T2Preparation="NO",
            SpectrallySelectedExcitation="NONE", SpatialPresaturation="NONE",
            PartialFourier="NO", ParallelAcquisition="NO",
        )],
        "MRImagingModifierSequence": [item(
            MagnetizationTransfer="NONE", BloodSignalNulling="NO", Tagging="NONE",
            TransmitterFrequency=123.2, PixelBandwidth="120",
        )],
        "MRReceiveCoilSequence": [item(
            ReceiveCoilName="HEAD", ReceiveCoilManufacturerName="", ReceiveCoilType="MULTICOIL",
            QuadratureReceiveCoil="NO", MultiCoilDefinitionSequence=[element],
        )],
        "MRTransmitCoilSequence": [item(
            TransmitCoilName="BODY", TransmitCoilManufacturerName="", TransmitCoilType="BODY",
        )],
        "MRAveragesSequence": [item(NumberOfAverages="1")],
    }  # fmt: skip


def _per_frame(image: Image, z: int, stack: int, scan: ScanHeader) -> Dataset:
    style, _, affine = image
    moment = f"{scan.date}{scan.time}"
    corner = (affine @ [z, 0, 0, 1])[:3]
    return item(
        FrameContentSequence=[item(
            StackID=str(stack), InStackPositionNumber=z + 1, DimensionIndexValues=[stack, z + 1],
            FrameAcquisitionDateTime=moment, FrameReferenceDateTime=moment,
            FrameAcquisitionDuration=300_000.0,
        )],
        PlanePositionSequence=[item(ImagePositionPatient=[decimal(value) for value in corner])],
        MRImageFrameTypeSequence=[item(FrameType=style.frame_type.split("\\"), **_kind(style))],
        MREchoSequence=[item(EffectiveEchoTime=scan.echo_ms)],
        PixelValueTransformationSequence=[item(
            RescaleIntercept=decimal(style.intercept), RescaleType="US",
            RescaleSlope=decimal(1.0 if style.slope is None else style.slope),
        )],
    )  # fmt: skip
